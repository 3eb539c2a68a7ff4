"""The simulator: real MQTT and AMQP clients that send what a device sends."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiocoap
import paho.mqtt.client as paho
import pika
import pytest
from aiocoap.resource import Resource, Site, WKCResource
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from paho.mqtt.enums import CallbackAPIVersion

from iiot_site.demo import simulator as simulating
from iiot_site.demo.demo_file import DemoFile, write_demo_file
from iiot_site.demo.links import MqttLink, open_link
from iiot_site.demo.plant import VERSION
from iiot_site.demo.simulator import Simulator
from protocols.amqp.consumer import connection_parameters
from protocols.amqp.topology import declare_topology
from protocols.broker_address import BrokerAddress, parse_amqp_url, parse_mqtt_url
from protocols.codecs.json import decode_telemetry
from tests.ports import free_port
from tests.waiting import WAIT_SECONDS, wait_until

TOPIC = "t/acme/simulated-pump/telemetry"


@pytest.fixture
def broker(settings: LazySettings) -> BrokerAddress:
    if not settings.MQTT_URL:
        pytest.skip("no MQTT broker")
    return parse_mqtt_url(settings.MQTT_URL)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulating, "CONNECT_SECONDS", WAIT_SECONDS)


@pytest.fixture
def content(broker: BrokerAddress) -> DemoFile:
    """A demo with one device; it has the platform's login, because no listener gives the broker others here."""
    device: Any = {"key": "simulated-pump", "type": "Pump", "protocol": "mqtt", "topic": TOPIC}
    device |= {"username": broker.username, "password": broker.password}
    idle = device | {"topic": "t/acme/idle-pump/telemetry", "simulated": False}
    return {
        "version": VERSION,
        "http": "",
        "mqtt": {"host": broker.host, "port": broker.port},
        "tenants": {"acme": {"id": "", "users": {}, "devices": [idle, device | {"simulated": True}]}},
        "platform_admin": {"email": "", "password": ""},
    }


class Ear:
    """Hears what is published below t/acme."""

    def __init__(self, broker: BrokerAddress, topics: str = "t/acme/+/telemetry") -> None:
        self.heard: list[tuple[str, bytes]] = []
        subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.connect(broker.host, broker.port)
        self._client.subscribe(topics)
        self._client.loop_start()
        assert subscribed.wait(WAIT_SECONDS)

    def say(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_SECONDS)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.heard) >= count)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_it_sends_time_stamped_messages_until_told_to_stop(broker: BrokerAddress, content: DemoFile) -> None:
    ear = Ear(broker)
    simulator = Simulator(content, messages_per_second=20)
    assert simulator.wait_until_connected()
    thread = threading.Thread(target=simulator.run)
    thread.start()
    ear.wait_for(5)
    simulator.request_stop()
    thread.join(WAIT_SECONDS)
    simulator.close()
    ear.close()
    assert {topic for topic, _ in ear.heard} == {TOPIC}
    samples = decode_telemetry(ear.heard[0][1], max_bytes=10_000)
    assert {sample.metric for sample in samples} == {"temperature", "pressure", "vibration", "current", "running"}
    assert all(sample.ts is not None for sample in samples)
    times = [json.loads(payload)["ts"] for _, payload in ear.heard]
    assert times == sorted(set(times))


def test_a_pump_says_that_it_is_there_and_obeys(broker: BrokerAddress, content: DemoFile) -> None:
    ear = Ear(broker, "t/acme/simulated-pump/status")
    simulator = Simulator(content, messages_per_second=1)
    ear.wait_for(1)
    ear.close()
    assert ear.heard[0][1] == b"online"
    ear = Ear(broker, "t/acme/simulated-pump/commands/response")
    commands: list[dict[str, Any]] = [{"name": "set_speed", "payload": {"rpm": 900}}, {"name": "fly", "payload": None}]
    for number, command in enumerate(commands):
        ear.say("t/acme/simulated-pump/commands", json.dumps(command | {"id": str(number)}))
    ear.wait_for(2)
    simulator.close()
    ear.close()
    done, failed = (json.loads(payload) for _, payload in ear.heard)
    assert done == {"id": "0", "status": "ok", "data": {"running": True, "rpm": 900}}
    assert (failed["id"], failed["status"]) == ("1", "failed")


def test_once_sends_one_message_and_says_when_it_is_ready(
    broker: BrokerAddress, content: DemoFile, settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IIOT_DATA_DIR = tmp_path
    monkeypatch.setenv("IIOT_READY_FILE", str(tmp_path / "ready"))
    write_demo_file(tmp_path / "demo.json", content)
    ear = Ear(broker)
    call_command("simulate", "--once")
    ear.wait_for(1)
    ear.close()
    assert (tmp_path / "ready").exists()


def test_it_says_what_is_missing(settings: LazySettings, tmp_path: Path) -> None:
    settings.IIOT_DATA_DIR = tmp_path
    with pytest.raises(CommandError, match=r"manage\.py demo"):
        call_command("simulate", "--once")


def test_nobody_can_guess_a_client_id(monkeypatch: pytest.MonkeyPatch, content: DemoFile) -> None:
    ids: list[str] = []
    connect = paho.Client.connect_async

    def note(self: paho.Client, *args: Any, **kwargs: Any) -> Any:
        ids.append(self._client_id.decode())
        return connect(self, *args, **kwargs)

    monkeypatch.setattr(paho.Client, "connect_async", note)
    for _ in range(2):
        Simulator(content, messages_per_second=1).close()
    assert len(set(ids)) == 2
    assert all(16 < len(id_) <= 23 for id_ in ids)


def test_an_amqp_device_sends_with_confirms_and_by_mqtt_where_there_is_no_rabbitmq(
    broker: BrokerAddress, content: DemoFile, settings: LazySettings
) -> None:
    device = content["tenants"]["acme"]["devices"][1]
    entry: Any = {**device, "protocol": "amqp", "topic": "acme.simulated-pump.telemetry"}
    instead = open_link(entry, content)
    instead.close()
    assert isinstance(instead, MqttLink)
    if not settings.AMQP_URL:
        pytest.skip("no RabbitMQ")
    rabbit = parse_amqp_url(settings.AMQP_URL)
    content["amqp"] = {"host": rabbit.host, "port": rabbit.port}
    content["tenants"]["acme"]["devices"] = [entry | {"username": rabbit.username, "password": rabbit.password}]
    with pika.BlockingConnection(connection_parameters(rabbit, name="test")) as connection:
        channel = connection.channel()
        declare_topology(channel)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "iiot.telemetry", "acme.simulated-pump.telemetry")
        simulator = Simulator(content, messages_per_second=20)
        assert simulator.wait_until_connected()
        simulator.publish_once()
        simulator.close()
        _, _, payload = channel.basic_get(queue, auto_ack=True)
        channel.queue_purge("iiot.telemetry")
    assert json.loads(payload)["values"]["running"] is True


def test_an_http_device_sends_with_its_token(content: DemoFile) -> None:
    received: list[tuple[str, str, bytes]] = []

    class Telemetry(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self.send_response(401)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"], body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Telemetry) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        content["http"] = f"http://127.0.0.1:{server.server_port}"
        link = open_link({**content["tenants"]["acme"]["devices"][1], "protocol": "http", "token": "a.b"}, content)
        link.publish("{}")
        link.flush(timeout_seconds=WAIT_SECONDS)
        link.close()
        server.shutdown()
        thread.join(WAIT_SECONDS)
    assert received == [("/api/v1/telemetry", "Bearer a.b", b"{}")]


def test_a_coap_device_sends_what_it_keeps_as_soon_as_somebody_answers(content: DemoFile) -> None:
    received: list[bytes] = []

    class Telemetry(Resource):  # type: ignore[misc]  # aiocoap has no types
        async def render_post(self, request: Any) -> Any:
            received.append(request.payload)
            return aiocoap.Message(code=aiocoap.CHANGED)

    async def serve(port: int, until: threading.Event) -> None:
        site = Site()
        site.add_resource([".well-known", "core"], WKCResource(site.get_resources_as_linkheader))
        site.add_resource(["t"], Telemetry())
        server = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
        await asyncio.to_thread(until.wait)
        await server.shutdown()

    port, done = free_port(), threading.Event()
    content["coap"] = {"host": "127.0.0.1", "port": port}
    thread = threading.Thread(target=lambda: asyncio.run(serve(port, done)))
    thread.start()
    entry: Any = {**content["tenants"]["acme"]["devices"][1], "protocol": "coap", "token": "a.b", "topic": "/t"}
    link = open_link(entry, content)
    link.publish("{}")
    link.flush(timeout_seconds=WAIT_SECONDS)
    link.close()
    done.set()
    thread.join(WAIT_SECONDS)
    assert received == [b"{}"]
