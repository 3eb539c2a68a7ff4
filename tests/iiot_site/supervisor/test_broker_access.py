"""Access on the real brokers: mosquitto, and amqtt where there is none. A device reaches its own topics only."""

import asyncio
import contextlib
import os
import queue
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from iiot_site.lib.broker_logins import acl_text
from iiot_site.lib.broker_password import hash_broker_password
from iiot_site.supervisor.amqtt import AmqttServer
from iiot_site.supervisor.choice import MQTT, Choice, Source, find_candidates
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder, write_private
from iiot_site.supervisor.mosquitto import MosquittoServer
from iiot_site.supervisor.ports import PortBook
from iiot_site.supervisor.probes import address_of, is_mqtt_ready
from iiot_site.supervisor.servers import ServerContext
from iiot_site.supervisor.supervisor import Supervisor
from tests.waiting import WAIT_SECONDS, wait_until

PUMP, FAN, OTHERS_PUMP = "acme/pump", "acme/fan", "globex/pump"


class Broker:
    """A running broker with three devices' logins."""

    def __init__(self, server: MosquittoServer | AmqttServer, supervisor: Supervisor) -> None:
        self.server = server
        self.supervisor = supervisor
        self.port = server.context.port
        self.platform_port = address_of(server.url)[1]
        self.password_file = server.context.folder.root / "mosquitto" / "passwords"
        self.platform_password = server.url.split(":")[2].split("@")[0]

    def client(self, username: str, password: str | None = None, *, client_id: str = "", clean: bool = True) -> "Client":
        secret = self.platform_password if username == "iiot-platform" else f"{username} secret"
        return Client(self.port, username, secret if password is None else password, client_id=client_id, clean=clean)

    def write_logins(self, *usernames: str) -> None:
        """Replace the devices' logins, as the platform's login sync does."""
        platform = [line for line in self.password_file.read_text().splitlines() if line.startswith("iiot-platform:")]
        lines = platform + [f"{name}:{hash_broker_password(f'{name} secret')}" for name in usernames]
        write_private(self.password_file.with_name("acl"), acl_text(usernames))
        write_private(self.password_file, "\n".join(lines) + "\n")
        with contextlib.suppress(FileNotFoundError):
            os.kill(int((self.server.context.folder.run / "mosquitto.pid").read_text()), signal.SIGHUP)


class Client:
    """A blocking MQTT client that collects what it receives."""

    def __init__(self, port: int, username: str, password: str, *, client_id: str, clean: bool) -> None:
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.result: int | None = None
        self.is_gone = False
        self._subscribed = False
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean, reconnect_on_failure=False)
        self.paho.username_pw_set(username, password)
        self.paho.on_message = lambda _c, _u, message: self.received.put((message.topic, bytes(message.payload)))
        self.paho.on_connect = lambda _c, _u, _f, code, _p: setattr(self, "result", code.value)
        self.paho.on_disconnect = lambda *_: setattr(self, "is_gone", True)
        self.paho.on_subscribe = lambda *_: setattr(self, "_subscribed", True)
        self._port = port

    def connect(self) -> "Client":
        self.paho.connect("127.0.0.1", self._port, keepalive=30)
        self.paho.loop_start()
        wait_until(lambda: self.result is not None)
        return self

    def subscribe(self, *filters: str) -> "Client":
        for topic_filter in filters:
            self._subscribed = False
            self.paho.subscribe(topic_filter, qos=1)
            wait_until(lambda: self._subscribed)
        return self

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> None:
        self.paho.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_SECONDS)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def messages_until(self, last: str) -> list[tuple[str, bytes]]:
        """Return what came, up to the topic that is sure to come."""
        messages: list[tuple[str, bytes]] = []
        while last not in [topic for topic, _ in messages]:
            messages.append(self.received.get(timeout=WAIT_SECONDS))
        return messages

    def topics_until(self, last: str) -> list[str]:
        return [topic for topic, _ in self.messages_until(last)]


@contextlib.asynccontextmanager
async def running_broker(root: Path, source: Source) -> AsyncIterator[Broker]:
    folder = DataFolder(root)
    candidate = next(item for item in find_candidates(MQTT) if item.source == source)
    async with Supervisor(folder, console=Console(to_stderr=True), env=dict(os.environ)) as supervisor:
        choice = Choice(MQTT, source, candidate.program)
        port = PortBook(folder.run / "ports.json").port_for("mqtt")
        context = ServerContext(folder=folder, choice=choice, port=port, env=supervisor.env)
        server: MosquittoServer | AmqttServer = AmqttServer(context)
        if source == Source.SYSTEM:
            server = MosquittoServer(context, platform_port=PortBook(folder.run / "ports.json").port_for("mqtt-platform"))
        await server.prepare()
        broker = Broker(server, supervisor)
        broker.write_logins(PUMP, FAN, OTHERS_PUMP)
        (spec,) = server.processes()
        await supervisor.wait_ready(supervisor.start_server(replace(spec)), timeout_seconds=WAIT_SECONDS)
        yield broker


@pytest.fixture(params=[Source.SYSTEM, Source.PACKAGED], scope="module")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if request.param not in [candidate.source for candidate in find_candidates(MQTT)]:
        pytest.skip("mosquitto is not installed")
    with asyncio.Runner() as runner:
        context = running_broker(tmp_path_factory.mktemp("broker"), request.param)
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


def test_who_takes_all_places_of_devices_leaves_those_of_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Source.SYSTEM not in [candidate.source for candidate in find_candidates(MQTT)]:
        pytest.skip("mosquitto is not installed")
    monkeypatch.setattr("iiot_site.supervisor.mosquitto._PLACES", 3)
    with asyncio.Runner() as runner:
        context = running_broker(tmp_path, Source.SYSTEM)
        broker = runner.run(context.__aenter__())
        clients = [broker.client(PUMP).connect() for _ in range(3)]
        assert not runner.run(is_mqtt_ready("127.0.0.1", broker.port, username=FAN, password=f"{FAN} secret"))
        assert runner.run(is_mqtt_ready("127.0.0.1", broker.platform_port, username=FAN, password=f"{FAN} secret"))
        for client in clients:
            client.close()
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def open_client(username: str, **options: object) -> Client:
        clients.append(broker.client(username, **options).connect())  # type: ignore[arg-type]  # passed through
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def test_a_device_reaches_the_platform_and_the_platform_the_device(connect: Callable[..., Client]) -> None:
    platform = connect("iiot-platform").subscribe("t/+/+/telemetry")
    pump = connect(PUMP).subscribe("t/acme/pump/commands")
    pump.publish("t/acme/pump/telemetry", b"1")
    assert platform.received.get(timeout=WAIT_SECONDS) == ("t/acme/pump/telemetry", b"1")
    platform.publish("t/acme/pump/commands", b"start")
    assert pump.received.get(timeout=WAIT_SECONDS) == ("t/acme/pump/commands", b"start")


def test_a_shared_subscription_delivers(connect: Callable[..., Client]) -> None:
    platform = connect("iiot-platform").subscribe("$share/listeners/t/+/+/telemetry")
    connect(PUMP).publish("t/acme/pump/telemetry", b"2")
    assert platform.received.get(timeout=WAIT_SECONDS) == ("t/acme/pump/telemetry", b"2")


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_refused(connect: Callable[..., Client], password: str) -> None:
    assert connect(PUMP, password=password).result != 0


def test_an_unknown_user_is_refused(connect: Callable[..., Client]) -> None:
    assert connect("acme/nobody").result != 0


def test_a_device_cannot_publish_for_another_device_or_tenant(connect: Callable[..., Client]) -> None:
    platform = connect("iiot-platform").subscribe("#")
    for topic in (
        "t/acme/fan/telemetry",
        "t/globex/pump/telemetry",
        "t/acme/pump/commands",
        "t/acme/fan/commands",
        "t/acme/pump/alerts",
        "t/acme/fan/alerts",
        "other",
    ):
        connect(PUMP).publish(topic)  # a client each: mosquitto acknowledges a refused publication, then hangs up
    connect(PUMP).publish("t/acme/pump/status")
    assert platform.topics_until("t/acme/pump/status") == ["t/acme/pump/status"]


@pytest.mark.parametrize("topic_filter", ["#", "t/#", "t/+/+/commands", "+/+/+/+", "t/acme/fan/commands", "t/globex/pump/#", "$share/x/#"])
def test_no_subscription_of_a_device_delivers_anything_foreign(connect: Callable[..., Client], topic_filter: str) -> None:
    platform = connect("iiot-platform")
    platform.publish("t/acme/fan/status", b"online", retain=True)
    pump = connect(PUMP).subscribe(topic_filter, "t/acme/pump/alerts")
    for topic in ("t/acme/fan/commands", "t/globex/pump/commands", "t/acme/fan/alerts", "t/acme/fan/telemetry", "t/acme/pump/telemetry"):
        platform.publish(topic)
    platform.publish("t/acme/pump/alerts")
    assert set(pump.topics_until("t/acme/pump/alerts")) == {"t/acme/pump/alerts"}


def test_a_last_will_obeys_the_same_rights(connect: Callable[..., Client], broker: Broker) -> None:
    platform = connect("iiot-platform").subscribe("#")
    for topic in ("t/acme/fan/status", "t/acme/pump/status"):
        pump = broker.client(PUMP)
        pump.paho.will_set(topic, b"offline", qos=1)
        pump.connect()
        sock = pump.paho.socket()
        assert sock is not None
        sock.close()  # gone without a DISCONNECT
        pump.paho.loop_stop()
    wills = [message for message in platform.messages_until("t/acme/pump/status") if message[1] == b"offline"]
    assert wills == [("t/acme/pump/status", b"offline")]


def test_what_arrives_while_the_listener_is_away_is_kept_for_it(connect: Callable[..., Client], broker: Broker) -> None:
    listener = broker.client("iiot-platform", client_id="listener", clean=False).connect().subscribe("t/+/+/telemetry")
    listener.close()
    pump = connect(PUMP)
    for number in range(50):
        pump.publish("t/acme/pump/telemetry", b"%d" % number)
    back = connect("iiot-platform", client_id="listener", clean=False)
    missing = set(range(50))
    while missing:  # QoS 1: some may come twice
        missing.discard(int(back.received.get(timeout=WAIT_SECONDS)[1]))


def test_another_device_with_the_same_client_id_gets_nothing_of_the_session(connect: Callable[..., Client], broker: Broker) -> None:
    fan = broker.client(FAN, client_id="mine", clean=False).connect().subscribe("t/acme/fan/commands")
    fan.close()
    connect("iiot-platform").publish("t/acme/fan/commands", b"secret")
    thief = connect(PUMP, client_id="mine", clean=False).subscribe("t/acme/pump/commands")
    connect("iiot-platform").publish("t/acme/pump/commands")
    assert thief.topics_until("t/acme/pump/commands") == ["t/acme/pump/commands"]


def test_logins_change_without_a_restart(connect: Callable[..., Client], broker: Broker) -> None:
    assert connect("acme/new").result != 0
    broker.write_logins(PUMP, FAN, OTHERS_PUMP, "acme/new")
    wait_until(lambda: connect("acme/new").result == 0)
    platform = connect("iiot-platform").subscribe("t/+/+/telemetry")
    device = connect("acme/new")
    broker.write_logins(PUMP, FAN, OTHERS_PUMP)
    wait_until(lambda: connect("acme/new").result != 0)
    device.paho.publish("t/acme/new/telemetry", qos=1)
    connect(PUMP).publish("t/acme/pump/telemetry")
    assert platform.topics_until("t/acme/pump/telemetry") == ["t/acme/pump/telemetry"]


def test_both_names_of_a_device_reach_its_topics_while_its_password_changes(broker: Broker, connect: Callable[..., Client]) -> None:
    broker.write_logins(PUMP, f"{PUMP}~2", FAN, OTHERS_PUMP)
    platform = connect("iiot-platform").subscribe("t/#")
    wait_until(lambda: connect(f"{PUMP}~2").result == 0)
    for username in (PUMP, f"{PUMP}~2"):
        connect(username).paho.publish("t/acme/fan/telemetry", b"not mine", qos=1)
        device = connect(username).subscribe("t/acme/pump/commands")
        device.publish("t/acme/pump/telemetry", username.encode())
        payloads: list[bytes] = []
        while username.encode() not in payloads:  # others' retained messages come first
            payloads.append(platform.received.get(timeout=WAIT_SECONDS)[1])
        assert b"not mine" not in payloads
        platform.publish("t/acme/pump/commands", b"go")
        assert device.received.get(timeout=WAIT_SECONDS) == ("t/acme/pump/commands", b"go")
    broker.write_logins(f"{PUMP}~2", FAN, OTHERS_PUMP)
    wait_until(lambda: connect(PUMP).result != 0)
    broker.write_logins(PUMP, FAN, OTHERS_PUMP)
