"""Devices with certificates, by mosquitto's own clients, through the TLS door and a mosquitto that our login sync feeds."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential
from devices.services import issue_credential, revoke_credential
from protocols.broker_address import BrokerAddress
from protocols.login_sync import LoginSync
from protocols.management.commands.mqtt_tls import make_door
from protocols.models import ListenerState
from protocols.mqtt import tls_door
from protocols.mqtt.connect_packet import read_connect, write_connect
from protocols.mqtt.listener import MqttListener
from protocols.mqtt.logins import PasswordFile
from protocols.mqtt.tls_door import TlsDoor
from protocols.mqtt.tls_files import TlsFiles
from telemetry.models import Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.devices.certificates import Identity, as_der, as_pem, make_identity
from tests.ports import free_port
from tests.protocols.running import running
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto_pub"),
]
TOPIC = "t/acme/pump-7/telemetry"


@dataclass(frozen=True)
class Site:
    """An open door, and who signs for devices."""

    port: int
    authority: Identity
    folder: Path

    def arguments(self, identity: Identity | None, *more: str) -> list[str]:
        """Return how mosquitto's clients connect; they check our certificate, too."""
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(self.folder / "ca.pem"), *more]
        if identity is not None:
            stem = f"device-{identity.certificate.serial_number}"
            (self.folder / f"{stem}.pem").write_text(as_pem(identity.certificate))
            (self.folder / f"{stem}.key").write_bytes(identity.key_pem)
            arguments += ["--cert", str(self.folder / f"{stem}.pem"), "--key", str(self.folder / f"{stem}.key")]
        return arguments

    def publish(self, identity: Identity | None, payload: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = ["mosquitto_pub", *self.arguments(identity, *more), "-q", "1", "-t", TOPIC, "-m", payload]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)


@pytest.fixture
def site(acme: Tenant, make_device: MakeDevice, own_broker: BrokerAddress, tmp_path: Path) -> Iterator[Site]:
    """acme with pump-7 and pump-8, a listener that feeds the broker its logins, and the door."""
    with tenant_context(acme):
        for key in ("pump-7", "pump-8"):
            make_device(key)
    now = timezone.now()
    authority = make_identity("Plant CA", now=now, is_authority=True)
    server = make_identity("localhost", now=now, signer=authority)
    (tmp_path / "ca.pem").write_text(as_pem(authority.certificate))
    (tmp_path / "server.pem").write_text(as_pem(server.certificate))
    (tmp_path / "server.key").write_bytes(server.key_pem)
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    ready, open_ = tmp_path / "ready", tmp_path / "open"
    sync = LoginSync(PasswordFile(tmp_path / "passwords", tmp_path / "pid"))
    listener = MqttListener(own_broker, client_id="listener", ready_file=ready, login_sync=sync)
    door = TlsDoor(bind="127.0.0.1", port=0, files=files, broker=(own_broker.host, own_broker.port), ready_file=open_)
    with running(listener, ready_file=ready), running(door, ready_file=open_):
        yield Site(door.port, authority, tmp_path)
        sync.stop()


Issue = Callable[[str], Identity]


@pytest.fixture
def issue(acme: Tenant, site: Site) -> Issue:
    """Return a function that signs a certificate for a device and registers it."""

    def sign(key: str) -> Identity:
        identity = make_identity(f"acme/{key}", now=timezone.now(), signer=site.authority)
        with tenant_context(acme):
            device = Device.objects.get(key=key)
            issue_credential(device=device, kind="x509", now=timezone.now(), certificate=as_pem(identity.certificate))
        name = f"acme/{key}~"
        wait_until(lambda: name in (site.folder / "passwords").read_text())
        return identity

    return sign


def stored(tenant: Tenant) -> list[tuple[str, float | None]]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("value").values_list("device__key", "value"))


def test_a_registered_certificate_opens_the_door_to_its_own_device_only(acme: Tenant, site: Site, issue: Issue) -> None:
    pump, other = issue("pump-7"), issue("pump-8")
    done = site.publish(pump, '{"temperature": 21.5}')
    assert (done.returncode, done.stderr) == (0, "")
    site.publish(other, '{"temperature": 99}')  # to pump-7's topic: the broker drops it
    will = ("--will-topic", "t/acme/pump-7/status", "--will-payload", "offline")
    assert (
        site.publish(pump, '{"temperature": 22.5}', "-V", "mqttv5", "-u", "acme/pump-8", "-P", "x", "--keepalive", "30", *will).returncode
        == 0
    )
    wait_until(lambda: len(stored(acme)) >= 2)
    assert stored(acme) == [("pump-7", 21.5), ("pump-7", 22.5)]
    with tenant_context(acme):
        assert DeviceCredential.objects.get(device__key="pump-7").last_used_at is not None


def test_a_revoked_certificate_loses_its_connection_and_gets_no_other(acme: Tenant, site: Site, issue: Issue) -> None:
    pump = issue("pump-7")
    log = site.folder / "subscriber.log"
    watching = ["mosquitto_sub", *site.arguments(pump), "-t", "t/acme/pump-7/commands", "-d"]
    with log.open("w") as output, subprocess.Popen(["stdbuf", "-oL", *watching], stdout=output, stderr=output) as subscriber:
        wait_until(lambda: "SUBACK" in log.read_text())
        with tenant_context(acme):
            revoke_credential(credential=DeviceCredential.objects.get(), now=timezone.now())
        wait_until(lambda: "CONNACK (5)" in log.read_text())  # it was put out, and came again
        subscriber.terminate()
    assert "not authorised" in site.publish(pump, '{"temperature": 21.5}').stderr
    assert stored(acme) == []


def test_certificates_of_others_open_nothing(acme: Tenant, site: Site, issue: Issue) -> None:
    pump = issue("pump-7")
    now = timezone.now()
    same_name = make_identity("acme/pump-7", now=now, signer=site.authority)  # signed, but not registered
    assert "not authorised" in site.publish(same_name, '{"temperature": 1}').stderr
    strangers = [make_identity("acme/pump-7", now=now), make_identity("acme/pump-7", now=now, signer=pump)]
    for stranger in strangers:
        assert site.publish(stranger, '{"temperature": 1}').returncode != 0
    assert site.publish(None, '{"temperature": 1}').returncode != 0
    assert site.publish(pump, '{"temperature": 21.5}').returncode == 0
    wait_until(lambda: bool(stored(acme)))
    assert stored(acme) == [("pump-7", 21.5)]


def test_a_password_works_over_tls_too(acme: Tenant, site: Site) -> None:
    password = issue_password(acme)
    login = ("-u", "acme/pump-7", "-P", password)
    wait_until(lambda: site.publish(None, '{"ts": "2026-01-01T00:00:00Z", "values": {}}', *login).returncode == 0)
    assert site.publish(None, '{"temperature": 21.5}', *login).returncode == 0
    assert "not authorised" in site.publish(None, '{"temperature": 1}', "-u", "acme/pump-7", "-P", "wrong").stderr
    wait_until(lambda: stored(acme) == [("pump-7", 21.5)])


def test_of_too_many_connections_of_a_device_the_oldest_ends_and_nobody_elses(
    acme: Tenant, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_door, "MAX_PER_DEVICE", 2)
    password, others_password = issue_password(acme), issue_password(acme, "pump-8")
    wait_until(lambda: site.publish(None, "1", "-u", "acme/pump-7", "-P", password).returncode == 0)
    wait_until(lambda: "acme/pump-8:" in (site.folder / "passwords").read_text())
    with contextlib.ExitStack() as stack:

        def log_in(client_id: str, device: str = "pump-7", secret: str = password) -> ssl.SSLSocket:
            connect = b"\0\4MQTT\4\2\0\0\0\1" + client_id.encode()
            tls = stack.enter_context(open_plain_tls(site))
            tls.sendall(write_connect(read_connect(connect), username=f"acme/{device}", password=secret))
            tls.recv(4)
            return tls

        other, first, second = log_in("o", "pump-8", others_password), log_in("1"), log_in("2")
        for _ in range(3):  # who does not know the password takes nobody's place
            log_in("w", secret="wrong")
        assert all(map(answers_ping, (other, first, second)))
        third = log_in("3")
        assert not answers_ping(first)
        assert all(map(answers_ping, (other, second, third)))


def answers_ping(tls: ssl.SSLSocket) -> bool:
    try:
        tls.sendall(b"\xc0\0")
        return tls.recv(2) == b"\xd0\0"
    except OSError:
        return False


def test_nothing_that_comes_first_ends_the_door(site: Site, issue: Issue) -> None:
    pump = issue("pump-7")
    context = ssl.create_default_context(cafile=site.folder / "ca.pem")
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x01", b"\x10\x02\x00\x04", b"\x10\xff\xff\x7f", b"\x30\x00"):
        with (
            socket.create_connection(("127.0.0.1", site.port), WAIT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            tls.sendall(first)
            assert tls.recv(100) == b""
    for first in (b"\x10\x00", b"", b"\x16\x03\x01\xff\xff" + b"x" * 100):
        with socket.create_connection(("127.0.0.1", site.port), WAIT_SECONDS) as plain:
            plain.sendall(first)
    assert site.publish(pump, '{"temperature": 21.5}').returncode == 0


def test_nobody_comes_in_by_certificate_while_it_cannot_be_looked_up(site: Site, issue: Issue, monkeypatch: pytest.MonkeyPatch) -> None:
    pump = issue("pump-7")

    def fail(_slug: str, _certificate: bytes) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(tls_door, "find_login", fail)
    assert "unavailable" in site.publish(pump, '{"temperature": 21.5}').stderr


def test_a_tenant_whose_look_ups_hang_holds_up_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    over, started = threading.Event(), threading.Event()

    def hang(slug: str, _: bytes) -> None:
        if slug == "acme":
            started.set()
            over.wait(2 * WAIT_SECONDS)

    monkeypatch.setattr(tls_door, "find_login", hang)
    now = timezone.now()
    of_acme, of_globex = (make_identity(f"{slug}/pump-7", now=now, signer=site.authority) for slug in ("acme", "globex"))
    command = ["mosquitto_pub", *site.arguments(of_acme), "-t", TOPIC, "-m", "1"]
    waiting = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(tls_door.LOOKUPS_AT_ONCE + 1)]
    assert started.wait(WAIT_SECONDS)
    try:
        assert "not authorised" in site.publish(of_globex, '{"temperature": 1}').stderr
        assert not over.is_set()
    finally:
        over.set()
        for one in waiting:
            one.wait(WAIT_SECONDS)


def test_who_connects_and_says_nothing_keeps_nobody_out(site: Site, issue: Issue, monkeypatch: pytest.MonkeyPatch) -> None:
    pump = issue("pump-7")
    monkeypatch.setattr(tls_door, "MAX_GREETING", 3)
    with contextlib.ExitStack() as silent:
        for _ in range(6):
            silent.enter_context(socket.create_connection(("127.0.0.1", site.port), WAIT_SECONDS))
        assert site.publish(pump, '{"temperature": 21.5}').returncode == 0


def reported() -> ListenerState | None:
    return ListenerState.objects.filter(name="mqtt-tls").first()


def state_now() -> str:
    state = reported()
    return state.state if state else ""


def test_the_door_tells_how_it_does_as_listeners_do(
    acme: Tenant, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_door, "HEARTBEAT_SECONDS", 0.05)
    site: Site = request.getfixturevalue("site")
    wait_until(lambda: (state := reported()) is not None and state.state == "connected")
    password = issue_password(acme)
    login = ("-u", "acme/pump-7", "-P", password)
    wait_until(lambda: site.publish(None, '{"temperature": 1}', *login).returncode == 0)
    command = ["mosquitto_sub", *site.arguments(None, *login), "-t", "t/acme/pump-7/commands"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as subscriber:
        wait_until(lambda: (state := reported()) is not None and state.connections == 1 and state.bytes > 0)
        subscriber.terminate()
    site.publish(make_identity("acme/pump-7", now=timezone.now(), signer=site.authority), "1")
    wait_until(lambda: (state := reported()) is not None and "not registered" in state.last_error)


def test_a_door_before_no_broker_says_so_and_that_it_stopped(acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_door, "HEARTBEAT_SECONDS", 0.05)
    server = make_identity("localhost", now=timezone.now())
    (tmp_path / "server.pem").write_text(as_pem(server.certificate))
    (tmp_path / "server.key").write_bytes(server.key_pem)
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", None)
    port = free_port()
    with running(TlsDoor(bind="127.0.0.1", port=0, files=files, broker=("127.0.0.1", port))):
        wait_until(lambda: (state := reported()) is not None and "cannot be reached" in state.last_error)
        assert state_now() == "connecting"
        with socket.create_server(("127.0.0.1", port)):
            wait_until(lambda: state_now() == "connected")
    assert state_now() == "stopped"


def issue_password(acme: Tenant, key: str = "pump-7") -> str:
    with tenant_context(acme):
        return issue_credential(device=Device.objects.get(key=key), kind="mqtt", now=timezone.now()).secret


def test_a_new_certificate_of_the_server_is_taken_up_and_a_broken_one_is_not(
    acme: Tenant, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_door, "RENEWAL_CHECK_SECONDS", 0.05)
    site: Site = request.getfixturevalue("site")
    before = served_certificate(site)
    (tmp_path / "server.pem").write_text("broken")
    server = make_identity("localhost", now=timezone.now(), signer=site.authority)
    assert served_certificate(site) == before
    (tmp_path / "server.key").write_bytes(server.key_pem)
    (tmp_path / "server.pem").write_text(as_pem(server.certificate))
    wait_until(lambda: served_certificate(site) == as_der(server.certificate))


def open_plain_tls(site: Site) -> ssl.SSLSocket:
    """Connect without a certificate."""
    context = ssl.create_default_context(cafile=site.folder / "ca.pem")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), WAIT_SECONDS), server_hostname="127.0.0.1")


def served_certificate(site: Site) -> bytes | None:
    with open_plain_tls(site) as tls:
        return tls.getpeercert(binary_form=True)


def test_without_its_settings_or_before_another_broker_the_door_stays_shut(settings: Any, tmp_path: Path) -> None:
    settings.IIOT_DATA_DIR, settings.IIOT_MQTT_TLS_CERT, settings.IIOT_MQTT_TLS_KEY = str(tmp_path), "", ""
    with pytest.raises(CommandError, match="IIOT_MQTT_TLS_CERT"):
        make_door(None)
    settings.IIOT_MQTT_TLS_CERT = settings.IIOT_MQTT_TLS_KEY = str(tmp_path / "none.pem")
    with pytest.raises(CommandError, match="not ours"):
        make_door(None)
    (tmp_path / "mosquitto").mkdir()
    settings.MQTT_URL = "mqtt://iiot:x@127.0.0.1:1883"
    with pytest.raises(FileNotFoundError):
        make_door(None).run()
