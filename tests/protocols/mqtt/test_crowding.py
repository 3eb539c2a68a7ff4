"""A login with far more connections than a device has loses them all, and nobody else any."""

import contextlib
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from devices.services import issue_credential
from protocols.broker_address import BrokerAddress
from protocols.login_sync import LoginSync
from protocols.mqtt import crowding
from protocols.mqtt.crowding import Crowd
from protocols.mqtt.listener import MqttListener
from protocols.mqtt.logins import PasswordFile
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import connect, disconnect
from tests.protocols.running import running
from tests.waiting import wait_until


def came(client: str, login: str = "acme/pump-7") -> str:
    return f"2026-11-21T16:59:50: New client connected from 127.0.0.1:59472 as {client} (p2, c1, k0, u'{login}')."


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    monkeypatch.setattr(crowding, "MAX_CONNECTIONS", 2)
    return Crowd()


def test_only_who_is_there_at_once_counts(crowd: Crowd) -> None:
    for client, end in (
        ("a", "a disconnected."),
        ("b", "b closed its connection."),
        ("c", "c has exceeded timeout, disconnecting."),
        ("d", "d disconnected due to protocol error."),
        ("e f, g", "e f, g disconnected, not authorised."),
        ("x disconnected.", "x disconnected. closed its connection."),
    ):
        assert crowd.note(came(client)) == ""
        assert crowd.note(f"2026-11-21T16:59:51: Client {end}") == ""
    assert [crowd.note(came("again")) for _ in range(4)] == [""] * 4, "the second of one client id takes the place of the first"
    assert crowd.note(came("2")) == ""
    assert crowd.note(came("1", "acme/fan-1")) == ""
    assert crowd.note(came("3")) == "acme/pump-7"


def test_nobody_counts_for_another(crowd: Crowd) -> None:
    for number in range(5):
        client = f"{number} (p2, c1, k0, u'globex/pump-9')."
        assert crowd.note(came(client)) in {"", "acme/pump-7"}
    assert [crowd.note(came(f"p{number}", "iiot-platform")) for number in range(5)] == [""] * 5


@pytest.mark.django_db(transaction=True)
def test_a_crowd_is_ended_and_its_login_comes_back(
    acme: Tenant, make_device: MakeDevice, own_broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowding, "MAX_CONNECTIONS", 5)
    with tenant_context(acme):
        secrets = [issue_credential(device=make_device(key), kind="mqtt", now=timezone.now()).secret for key in ("pump-7", "fan-1")]
        assert Device.objects.count() == 2
    passwords_file = tmp_path / "passwords"
    passwords = PasswordFile(passwords_file, tmp_path / "pid")
    sync = LoginSync(passwords)
    listener = MqttListener(
        own_broker,
        client_id="listener",
        ready_file=tmp_path / "ready",
        login_sync=sync,
        shut_out=partial(passwords.shut_out, seconds=0.5),
    )
    pump, fan = (
        BrokerAddress(own_broker.host, own_broker.port, f"acme/{key}", secret, uses_tls=False)
        for key, secret in zip(("pump-7", "fan-1"), secrets, strict=True)
    )
    with running(listener, ready_file=tmp_path / "ready"), contextlib.ExitStack() as stack:

        def log_in(address: BrokerAddress) -> paho.Client:
            client = connect(address)
            stack.callback(disconnect, client)
            return client

        wait_until(lambda: listener._crowd_watch is not None and listener._crowd_watch.is_looking)
        other, crowd = log_in(fan), [log_in(pump) for _ in range(6)]
        wait_until(lambda: not any(client.is_connected() for client in crowd))
        assert other.is_connected()
        assert "acme/pump-7 had more than" in listener.last_error
        for client in crowd:
            disconnect(client)

        def has_come_back() -> bool:
            sync.sync_all()
            return "acme/pump-7:" in passwords_file.read_text()

        wait_until(has_come_back)
        assert log_in(pump).is_connected()
        assert other.is_connected()
        sync.stop()
