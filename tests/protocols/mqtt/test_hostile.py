"""Three hundred hostile messages over MQTT and as many as Sparkplug: the listener goes on, and every one is in the ledger."""

import random

import paho.mqtt.client as paho
import pytest
from django_tenants.utils import tenant_context

from protocols.models import UnroutedCount
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import IngestLedger, Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.hostile import hostile_payloads
from tests.protocols.mqtt.conftest import RunListener
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 300
PLAIN = ("t/acme/pump-7/telemetry",) * 8 + ("t/acme/nobody/telemetry", "t/nobody/pump-7/telemetry", "t/ac me/päß/telemetry")
SPARKPLUG = ("spBv1.0/acme/NDATA/pump-7", "spBv1.0/acme/NBIRTH/pump-7", "spBv1.0/acme/DDATA/pump-7/x", "spBv1.0/nobody:a/NBIRTH/b")


@pytest.mark.parametrize("topics", [PLAIN, SPARKPLUG], ids=["plain", "sparkplug"])
def test_every_hostile_message_is_in_the_ledger(
    topics: tuple[str, ...], acme: Tenant, make_device: MakeDevice, platform: paho.Client, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        make_device("pump-7")
    chance = random.Random(815)

    def has_marker() -> bool:
        with tenant_context(acme):
            return Reading.objects.filter(value=42_424_242).exists()

    with run_listener():
        for payload in hostile_payloads(COUNT, seed=815):
            platform.publish(chance.choice(topics), payload, qos=1)
        platform.publish(PLAIN[0], '{"temperature": 42424242}', qos=1)
        wait_until(has_marker)
    unrouted = sum(row.messages for row in UnroutedCount.objects.all())
    with tenant_context(acme):
        assert sum(entry.messages for entry in IngestLedger.objects.all()) + unrouted == COUNT + 1
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        assert "internal_error" not in {row.reason for row in RejectedMessage.objects.all()}
