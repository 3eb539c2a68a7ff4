"""Three hundred hostile messages: the listener goes on, and every one is in the ledger."""

import random
from typing import Any

import pytest
from django_tenants.utils import tenant_context

from protocols.amqp.names import DEAD_QUEUE
from protocols.models import ListenerState, UnroutedCount
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import IngestLedger, Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.amqp.conftest import Publisher, RunListener
from tests.protocols.hostile import hostile_payloads
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 300
KEYS = ("acme.pump-7.telemetry",) * 8 + ("acme.nobody.telemetry", "nobody.pump-7.telemetry", "ac me.\0.telemetry")
CONTENT_TYPES = (None, None, "application/json", "application/cbor", "application/senml+json", "text/plain", "x" * 200, ";;;", "é/\0")


def properties(chance: random.Random) -> dict[str, Any]:
    return {
        "content_type": chance.choice(CONTENT_TYPES),
        "content_encoding": chance.choice((None, "gzip", "\0")),
        "message_id": chance.choice((None, "same", "é" * 100)),
        "headers": chance.choice((None, {"x-death": "no list"}, {"a": {"b": [{"c": None}]}}, {"CC": ["globex.pump-7.telemetry"]})),
        "priority": chance.choice((None, 255)),
        "delivery_mode": chance.choice((None, 1, 2)),
    }


def test_every_hostile_message_is_in_the_ledger(
    acme: Tenant, make_device: MakeDevice, platform: Publisher, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        make_device("pump-7")
    chance = random.Random(4711)

    def has_marker() -> bool:
        with tenant_context(acme):
            return Reading.objects.filter(value=42_424_242).exists()

    with run_listener():
        for payload in hostile_payloads(COUNT, seed=4711):
            platform.publish(payload, key=chance.choice(KEYS), **properties(chance))
        platform.publish('{"temperature": 42424242}')
        wait_until(has_marker)
    unrouted = sum(row.messages for row in UnroutedCount.objects.all())
    with tenant_context(acme):
        entries = list(IngestLedger.objects.all())
        assert sum(entry.messages for entry in entries) + unrouted == COUNT + 1
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        refused = sum(entry.messages_rejected for entry in entries)
        assert "internal_error" not in {row.reason for row in RejectedMessage.objects.all()}
    assert refused > COUNT // 2
    wait_until(lambda: platform.waiting() == 0)
    wait_until(lambda: platform.waiting(DEAD_QUEUE) == refused + unrouted)
    state = ListenerState.objects.get()
    assert (state.state, state.messages) == ("stopped", COUNT + 1)
