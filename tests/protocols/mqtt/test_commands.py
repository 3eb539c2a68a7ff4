"""Commands and alerts through a real broker: to the device, its answer back, again after it was away."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from paho.mqtt.enums import CallbackAPIVersion

from alerting.models import Alert
from alerting.services import handle_signal
from alerting.types import AlertSignal
from devices.command_services import queue_command
from devices.models import Command, Device
from protocols.broker_address import BrokerAddress
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import RunListener, connect, disconnect
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7", protocol="mqtt")


@pytest.fixture
def start_device(broker: BrokerAddress) -> Iterator[Start]:
    """Return a function that connects the device; the list that it returns fills with what it gets, commands or of another topic."""
    clients = []

    def start(channel: str = "commands") -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []
        client = connect(broker)
        clients.append(client)
        ready: list[int] = []
        client.on_subscribe = lambda *_: ready.append(1)
        client.on_message = lambda _client, _data, message: got.append(json.loads(message.payload))
        client.subscribe(f"t/acme/pump-7/{channel}", qos=1)
        wait_until(lambda: bool(ready))
        return got

    yield start
    for client in clients:
        disconnect(client)


def queue(tenant: Tenant, name: str = "set_speed", **details: Any) -> Command:
    with tenant_context(tenant):
        return queue_command(device=Device.objects.get(), name=name, payload={"rpm": 1450}, now=timezone.now(), **details)


def state(tenant: Tenant) -> str:
    with tenant_context(tenant):
        return Command.objects.get().state


def say(client: paho.Client, channel: str, payload: str | dict[str, Any]) -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    client.publish(f"t/acme/pump-7/{channel}", text, qos=1).wait_for_publish(WAIT_SECONDS)


def test_a_command_reaches_the_device_at_once_and_its_answer_is_kept(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    got = start_device()
    with run_listener():
        command = queue(acme)
        wait_until(lambda: len(got) == 1, seconds=1.5)  # woken, not polled
        assert (got[0]["id"], got[0]["name"], got[0]["payload"], got[0]["attempt"]) == (str(command.pk), "set_speed", {"rpm": 1450}, 1)
        wait_until(lambda: state(acme) == "sent")
        say(platform, "commands/response", {"id": got[0]["id"], "status": "ok", "data": {"rpm": 1448}})
        wait_until(lambda: state(acme) == "acknowledged")
    with tenant_context(acme):
        assert Command.objects.get().response == {"rpm": 1448}
        assert Device.objects.get().last_seen_via == "mqtt"


def test_a_device_that_was_away_gets_its_command_when_it_says_that_it_is_back(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    with run_listener():
        say(platform, "status", "offline")
        queue(acme, lifetime=timedelta(days=30))
        wait_until(lambda: state(acme) == "sent")  # the broker took it, and had nobody to give it to
        got = start_device()
        say(platform, "status", {"status": "online"})
        wait_until(lambda: len(got) == 1)
    assert got[0]["attempt"] == 2
    with tenant_context(acme):
        device = Device.objects.get()
        assert (device.connection, device.connection_since is None) == ("online", False)


def test_a_command_queued_while_no_listener_runs_is_sent_later(acme: Tenant, run_listener: RunListener, start_device: Start) -> None:
    queue(acme)
    got = start_device()
    with run_listener():
        wait_until(lambda: len(got) == 1)
        wait_until(lambda: state(acme) == "sent")


@pytest.mark.parametrize(
    ("channel", "payload", "reason"),
    [
        ("commands/response", "{", "malformed_json"),
        ("commands/response", {"id": "1", "status": "ok"}, "invalid_shape"),
        ("commands/response", {"status": "ok"}, "invalid_shape"),
        ("commands/response", {"id": "d9a1a6a0-0000-4000-8000-000000000000", "status": "ok"}, "unknown_command"),
        ("commands/response", {"id": ["x"], "status": ["ok"]}, "invalid_shape"),
        ("commands/response", {"id": "d9a1a6a0-0000-4000-8000-000000000000", "status": ["ok"]}, "invalid_shape"),
        ("status", "asleep", "malformed_json"),
        ("status", {"status": {}}, "invalid_shape"),
        ("status", {"status": 1}, "invalid_shape"),
    ],
)
def test_what_cannot_be_understood_is_kept_as_rejected(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, channel: str, payload: Any, reason: str
) -> None:
    with run_listener():
        say(platform, channel, payload)
        with tenant_context(acme):
            wait_until(RejectedMessage.objects.exists)
            assert RejectedMessage.objects.get().reason == reason


def test_the_last_will_is_recorded(acme: Tenant, broker: BrokerAddress, run_listener: RunListener) -> None:
    with run_listener():
        device = paho.Client(CallbackAPIVersion.VERSION2)
        device.username_pw_set(broker.username, broker.password)
        device.will_set("t/acme/pump-7/status", "offline", qos=1, retain=True)
        device.connect(broker.host, broker.port)
        device.loop_start()
        wait_until(device.is_connected)
        say(device, "status", "online")
        with tenant_context(acme):
            wait_until(lambda: Device.objects.get().connection == "online")
            device.socket().close()  # type: ignore[union-attr]  # it is connected
            device.loop_stop()
            wait_until(lambda: Device.objects.get().connection == "offline")
    cleaner = connect(broker)
    cleaner.publish("t/acme/pump-7/status", b"", qos=1, retain=True).wait_for_publish(WAIT_SECONDS)
    disconnect(cleaner)


# --- Alerts


def raise_alert(tenant: Tenant, action: Literal["trigger", "resolve"] = "trigger", *, key: str = "pump-7", seconds: int = 0) -> None:
    with tenant_context(tenant):
        device = Device.objects.get(key=key)
        now = timezone.now()
        at = now + timedelta(seconds=seconds)
        handle_signal(signal=AlertSignal(f"rule:1:{key}", action, "high", "rule:1", device.pk, None, "Too hot", at), now=now)


def test_a_device_hears_of_its_alerts_and_of_no_others(
    acme: Tenant, globex: Tenant, make_device: MakeDevice, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    for tenant, key, protocol in ((acme, "pump-8", "mqtt"), (acme, "fan-1", "http"), (globex, "pump-7", "mqtt")):
        with tenant_context(tenant):
            make_device(key, protocol=protocol)
    heard = start_device("alerts")
    with run_listener():
        for tenant, key in ((globex, "pump-7"), (acme, "pump-8"), (acme, "fan-1"), (acme, "pump-7")):
            raise_alert(tenant, key=key)
        wait_until(lambda: len(heard) == 1)
        raise_alert(acme, seconds=1)  # a repetition is nothing new
        raise_alert(acme, "resolve", seconds=2)
        wait_until(lambda: len(heard) == 2)
        with tenant_context(acme):
            wait_until(lambda: not Alert.objects.filter(tell_at__isnull=False).exists())
            alert = Alert.objects.get(device__key="pump-7")
    assert [(message["id"], message["state"], message["severity"], message["summary"]) for message in heard] == [
        (str(alert.pk), state, "high", "Too hot") for state in ("raised", "cleared")
    ]
    assert [message["cleared_at"] is None for message in heard] == [True, False]


def test_a_device_that_comes_back_is_told_of_what_is_firing(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, start_device: Start
) -> None:
    raise_alert(acme)
    raise_alert(acme, "resolve", seconds=1)  # while no listener runs: the newest state only
    heard = start_device("alerts")
    with run_listener():
        wait_until(lambda: len(heard) == 1)
        raise_alert(acme, seconds=2)
        wait_until(lambda: len(heard) == 2)
        say(platform, "status", "online")
        wait_until(lambda: len(heard) == 3)
    assert [message["state"] for message in heard] == ["cleared", "raised", "raised"]
