"""How a simulated device reaches the platform: a client of its own with the device's own credentials, for each protocol."""

import asyncio
import contextlib
import json
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import aiocoap
import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from iiot_site.demo.demo_file import DemoDeviceEntry, DemoFile

logger = logging.getLogger(__name__)

# While the platform is away a device keeps a little, then drops its oldest values, as real ones do.
MAX_QUEUED_MESSAGES = 300
PAUSE_SECONDS = 5.0


class Link(Protocol):
    """What the simulator needs. None of it waits, but `flush`."""

    # Whether its server may come up seconds after everything else.
    starts_late: bool

    @property
    def is_connected(self) -> bool:
        """Whether the device has been accepted."""

    def publish(self, payload: str) -> None:
        """Send a message, or keep it for later."""

    def flush(self, *, timeout_seconds: float) -> None:
        """Wait until what was published has been taken."""

    def close(self) -> None:
        """Disconnect after what is queued has left."""


Obey = Callable[[str, Any], Mapping[str, Any]]


class MqttLink:
    """MQTT with QoS 1. It tells when it is online, by its last will when not, and obeys commands once it knows how."""

    starts_late = False

    def __init__(self, entry: DemoDeviceEntry, content: DemoFile) -> None:
        self._topic = entry["topic"]
        # A client id that nobody can guess: whoever connects with the same one ends this session.
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"sim-{secrets.token_hex(8)}", clean_session=True)
        self._client.username_pw_set(entry["username"], entry["password"])
        self._client.max_queued_messages_set(MAX_QUEUED_MESSAGES)
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_command
        self._place = self._topic.removesuffix("/telemetry")
        self._client.will_set(f"{self._place}/status", "offline", qos=1)
        self._obey: Obey | None = None
        self._last: paho.MQTTMessageInfo | None = None
        self._client.connect_async(content["mqtt"]["host"], content["mqtt"]["port"], keepalive=30)
        self._client.loop_start()

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    def answer_commands(self, obey: Obey) -> None:
        """Let commands be carried out by `obey`, which returns what to answer or raises ValueError."""
        self._obey = obey

    def publish(self, payload: str) -> None:
        self._last = self._client.publish(self._topic, payload, qos=1)

    def flush(self, *, timeout_seconds: float) -> None:
        if self._last is not None:
            self._last.wait_for_publish(timeout_seconds)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            logger.warning("%s was refused by the broker: %s", self._topic, reason)
            return
        self._client.subscribe(f"{self._place}/commands", qos=1)
        self._client.publish(f"{self._place}/status", "online", qos=1)

    def _on_command(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        command = json.loads(message.payload)
        answer: dict[str, Any] = {"id": command["id"], "status": "ok"}
        try:
            answer["data"] = self._obey(command["name"], command["payload"]) if self._obey else None
        except ValueError as exc:
            answer |= {"status": "failed", "error": str(exc)}
        self._client.publish(f"{self._place}/commands/response", json.dumps(answer), qos=1)


class _QueuedLink:
    """Keeps what is published for a thread that sends it."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.Queue[str] = queue.Queue(MAX_QUEUED_MESSAGES)
        self._stopping = threading.Event()
        self.is_connected = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def publish(self, payload: str) -> None:
        while True:
            try:
                return self._waiting.put_nowait(payload)
            except queue.Full:
                self._drop_oldest()

    def flush(self, *, timeout_seconds: float) -> None:
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, timeout_seconds)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(PAUSE_SECONDS)

    def _drop_oldest(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()
            self._waiting.task_done()

    def _run(self) -> None:
        raise NotImplementedError


class AmqpLink(_QueuedLink):
    """AMQP with publisher confirms, on a thread of its own."""

    starts_late = True

    def __init__(self, entry: DemoDeviceEntry, content: DemoFile) -> None:
        self._key = entry["topic"]
        login = pika.PlainCredentials(entry["username"], entry["password"])
        self._parameters = pika.ConnectionParameters(content["amqp"]["host"], content["amqp"]["port"], credentials=login)
        super().__init__(f"amqp {self._key}")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with pika.BlockingConnection(self._parameters) as connection:
                    self._serve(connection)
            except (pika.exceptions.AMQPError, OSError) as exc:
                logger.info("%s is not connected: %r", self._key, exc)
                self._stopping.wait(PAUSE_SECONDS)
            finally:
                self.is_connected = False

    def _serve(self, connection: Any) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        self.is_connected = True
        while not (self._stopping.is_set() and self._waiting.empty()):
            try:
                payload = self._waiting.get(timeout=0.2)
            except queue.Empty:
                connection.process_data_events(0)  # answers the broker's heartbeats
                continue
            try:
                channel.basic_publish("iiot.telemetry", self._key, payload, mandatory=True)
            finally:
                self._waiting.task_done()


class HttpLink(_QueuedLink):
    """HTTP with the device's token, one request at a time, on a thread of its own."""

    starts_late = False

    def __init__(self, entry: DemoDeviceEntry, content: DemoFile) -> None:
        self._url = f"{content['http']}/api/v1/telemetry"
        self._headers = {"Authorization": f"Bearer {entry['token']}", "Content-Type": "application/json"}
        super().__init__(f"http {entry['username']}")

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._waiting.empty()):
            try:
                if not self.is_connected:  # nothing stays open: see whether somebody answers
                    self._ask(Request(self._url, method="OPTIONS"))  # noqa: S310 - the scheme is the demo's own http
                    self.is_connected = True
                self._send_next()
            except OSError as exc:
                logger.info("%s does not answer: %r", self._url, exc)
                self.is_connected = False
                self._stopping.wait(PAUSE_SECONDS)
                if self._stopping.is_set():
                    break

    def _send_next(self) -> None:
        try:
            payload = self._waiting.get(timeout=0.2)
        except queue.Empty:
            return
        try:
            self._ask(Request(self._url, payload.encode(), self._headers))  # noqa: S310 - the scheme is the demo's own http
        finally:
            self._waiting.task_done()

    def _ask(self, request: Request) -> None:
        try:
            with urlopen(request, timeout=PAUSE_SECONDS) as answer:  # noqa: S310 - the scheme is the demo's own http
                answer.read()
        except HTTPError as exc:
            with exc:
                if request.method != "OPTIONS":
                    logger.warning("the platform answers %s", exc.code)


class CoapLink(_QueuedLink):
    """CoAP with confirmable requests, one at a time (NSTART, RFC 7252 §4.7), on a thread of its own."""

    starts_late = False

    def __init__(self, entry: DemoDeviceEntry, content: DemoFile) -> None:
        self._base = f"coap://{content['coap']['host']}:{content['coap']['port']}"
        self._path = f"/t?{urlencode({'k': entry['token']})}"
        super().__init__(f"coap {entry['username']}")

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        client = await aiocoap.Context.create_client_context(transports=["udp6"])
        while not (self._stopping.is_set() and self._waiting.empty()):
            try:
                if not self.is_connected:  # nothing is open over UDP: see whether somebody answers
                    await self._ask(client, aiocoap.Message(code=aiocoap.GET, uri=f"{self._base}/.well-known/core"))
                    self.is_connected = True
                await self._send_next(client)
            except (aiocoap.error.Error, OSError) as exc:
                logger.info("%s does not answer: %r", self._base, exc)
                self.is_connected = False
                await asyncio.to_thread(self._stopping.wait, PAUSE_SECONDS)
                if self._stopping.is_set():
                    break
        await client.shutdown()

    async def _send_next(self, client: aiocoap.Context) -> None:
        try:
            payload = self._waiting.get_nowait()
        except queue.Empty:
            await asyncio.sleep(0.1)
            return
        try:
            uri = self._base + self._path
            await self._ask(client, aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload.encode(), content_format=50))
        finally:
            self._waiting.task_done()

    async def _ask(self, client: aiocoap.Context, message: aiocoap.Message) -> None:
        response = await client.request(message).response
        if not response.code.is_successful():
            logger.warning("the platform answers %s", response.code)


LINKS: dict[str, Callable[[DemoDeviceEntry, DemoFile], Link]] = {"mqtt": MqttLink, "amqp": AmqpLink, "coap": CoapLink, "http": HttpLink}


def open_link(entry: DemoDeviceEntry, content: DemoFile) -> Link:
    """Connect a device by its protocol; by MQTT where that door is shut on this machine."""
    if entry["protocol"] not in content or entry["protocol"] not in LINKS:
        entry = {**entry, "protocol": "mqtt", "topic": f"t/{entry['username']}/telemetry"}
    return LINKS[entry["protocol"]](entry, content)
