"""The listener as an MQTT 5 client: its session outlives it, and several share the load without storing anything twice."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from django_tenants.utils import tenant_context

from protocols.broker_address import BrokerAddress
from protocols.models import ListenerState
from protocols.mqtt.listener import MqttListener
from telemetry.models import Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import connect, disconnect
from tests.protocols.running import running
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
RunVersion5 = Callable[..., AbstractContextManager[MqttListener]]


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7")


@pytest.fixture
def run_version_5(broker: BrokerAddress, tmp_path: Path) -> Iterator[RunVersion5]:
    """Return a context in which a listener of this client id runs."""
    used: set[str] = set()

    @contextmanager
    def run(client_id: str, *, group: str = "") -> Iterator[MqttListener]:
        used.add(client_id)
        ready_file = tmp_path / uuid.uuid4().hex
        with running(
            MqttListener(broker, client_id=client_id, ready_file=ready_file, version="5", shared_group=group), ready_file=ready_file
        ) as listener:
            yield listener

    yield run
    for client_id in used:
        disconnect(connect(broker, client_id=client_id))


def values(tenant: Tenant) -> list[float]:
    with tenant_context(tenant):
        return sorted(Reading.objects.values_list("value", flat=True))


def publish(client: paho.Client, *numbers: int) -> None:
    for n in numbers:
        client.publish("t/acme/pump-7/telemetry", json.dumps({"temperature": n}), qos=1).wait_for_publish(WAIT_SECONDS)


def test_what_came_while_no_listener_ran_is_stored_later(
    acme: Tenant, platform: paho.Client, run_version_5: RunVersion5, client_id: str
) -> None:
    with run_version_5(client_id):
        publish(platform, 1)
        wait_until(lambda: values(acme) == [1])
    publish(platform, 2, 3)
    with run_version_5(client_id):
        wait_until(lambda: len(values(acme)) == 3)
    assert values(acme) == [1, 2, 3]


def test_two_listeners_of_a_group_share_what_comes(acme: Tenant, platform: paho.Client, run_version_5: RunVersion5, client_id: str) -> None:
    with run_version_5(client_id, group="iiot") as first, run_version_5(f"{client_id}-b", group="iiot") as second:
        publish(platform, *range(40))
        wait_until(lambda: len(values(acme)) == 40)
        assert first._stored_count > 0
        assert second._stored_count > 0
    assert values(acme) == list(range(40))
    assert ListenerState.objects.filter(name__startswith="mqtt").exists()
