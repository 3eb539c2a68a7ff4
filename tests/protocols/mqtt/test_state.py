"""Desired state through a real broker: to the device at once, when it asks, when it comes back; its report taken in."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DesiredState, Device
from devices.state_services import change_desired, load_state
from protocols.broker_address import BrokerAddress
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import RunListener, connect, disconnect
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7", protocol="mqtt")


@pytest.fixture
def start_device(broker: BrokerAddress) -> Iterator[Start]:
    """Return a function that connects the device; the list that it returns fills with what it is told."""
    clients = []

    def start() -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []
        client = connect(broker)
        clients.append(client)
        ready: list[int] = []
        client.on_subscribe = lambda *_: ready.append(1)
        client.on_message = lambda _client, _data, message: got.append(json.loads(message.payload))
        client.subscribe("t/acme/pump-7/state/desired", qos=1)
        wait_until(lambda: bool(ready))
        return got

    yield start
    for client in clients:
        disconnect(client)


def desire(tenant: Tenant, **settings: Any) -> None:
    with tenant_context(tenant):
        change_desired(device=Device.objects.get(), patch=settings, now=timezone.now())


def state(tenant: Tenant) -> DesiredState:
    with tenant_context(tenant):
        return load_state(Device.objects.get())


def say(client: paho.Client, channel: str, payload: str) -> None:
    client.publish(f"t/acme/pump-7/{channel}", payload, qos=1).wait_for_publish(WAIT_SECONDS)


def test_a_device_is_told_at_once_reports_and_is_told_again_when_it_asks(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    got = start_device()
    with run_listener():
        desire(acme, interval_s=10)
        wait_until(lambda: len(got) == 1)
        assert got == [{"version": 1, "desired": {"interval_s": 10}, "delta": {"interval_s": 10}}]
        wait_until(lambda: state(acme).sent_at is not None)
        say(platform, "state/reported", '{"interval_s": 10, "mode": "eco"}')
        wait_until(lambda: state(acme).offer_at is None)
        assert state(acme).reported == {"interval_s": 10, "mode": "eco"}
        say(platform, "state/get", "")
        wait_until(lambda: len(got) == 2)
        assert got[1] == {"version": 1, "desired": {"interval_s": 10}, "delta": {}}


def test_a_device_that_was_away_is_told_the_difference_when_it_comes_back(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    with run_listener():
        say(platform, "state/reported", '{"interval_s": 10, "mode": "eco"}')
        say(platform, "status", "offline")
        desire(acme, interval_s=10, mode="full")
        wait_until(lambda: state(acme).sent_at is not None)  # the broker took it, and had nobody to give it to
        got = start_device()
        say(platform, "status", "online")
        wait_until(lambda: len(got) == 1)
    assert got[0]["delta"] == {"mode": "full"}


@pytest.mark.parametrize(("payload", "reason"), [("{", "malformed_json"), ("[1]", "state_refused"), ('{"": 1}', "state_refused")])
def test_a_report_that_cannot_be_kept_is_among_the_rejected(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, payload: str, reason: str
) -> None:
    with run_listener():
        say(platform, "state/reported", payload)
        with tenant_context(acme):
            wait_until(RejectedMessage.objects.exists)
            assert RejectedMessage.objects.get().reason == reason
