"""Devices that send a sequence of numbers and write down what was acknowledged: a thread each, one class per protocol."""

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.tally import Log
from tests.platform import Platform

FINISH_SECONDS = 150.0


class Sender(threading.Thread):
    """Sends `rate` messages a second until stopped; `finish` waits until all that was sent is acknowledged.

    Each message has one value, its number, under the sender's own metric. `is_timed` gives it a source time; without
    one a message that comes twice must be recognised by other means.
    """

    protocol = ""

    def __init__(self, platform: Platform, key: str, *, metric: str, rate: float, is_timed: bool = True, tenant: str = "acme") -> None:
        super().__init__(name=f"{self.protocol}-{key}", daemon=True)
        self.entry = platform.device_entry(key, tenant=tenant)
        self.key, self.metric = key, metric
        self.log = Log()
        self.rate = rate
        self._is_timed = is_timed
        self._start_ms = int(time.time() * 1000)
        self._is_stopping = threading.Event()
        self.server_errors = 0

    def message(self, number: int) -> bytes:
        """Return what is sent: numbers a millisecond apart in source time."""
        if self._is_timed:
            return json.dumps({"ts": self._start_ms + number, "values": {self.metric: number}}).encode()
        return json.dumps({self.metric: number}).encode()

    def run(self) -> None:
        started, number = time.monotonic(), 0
        while not self._is_stopping.is_set():
            ahead = number / self.rate - (time.monotonic() - started)
            if ahead > 0:
                self._is_stopping.wait(ahead)
                continue
            self.send(number)
            number += 1

    def send(self, number: int) -> None:
        """Send one message; note it in `log`."""
        raise NotImplementedError

    def finish(self) -> None:
        """Stop sending, and wait until what was sent is acknowledged."""
        self._is_stopping.set()
        self.join(FINISH_SECONDS)
        deadline = time.monotonic() + FINISH_SECONDS
        while self.log.acknowledged != self.log.sent and time.monotonic() < deadline:
            time.sleep(0.1)


class MqttSender(Sender):
    """QoS 1; acknowledged is what the broker acknowledged."""

    protocol = "mqtt"

    def __init__(self, platform: Platform, key: str, **options: Any) -> None:
        super().__init__(platform, key, **options)
        self._numbers: dict[int, int] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"fault-{key}-{time.time_ns()}", clean_session=False)
        self.client.username_pw_set(self.entry["username"], self.entry["password"])
        self._topic = f"t/{self.entry['username']}/telemetry"  # the demo's own topic may be that of another protocol
        self.client.max_queued_messages_set(0)
        self.client.max_inflight_messages_set(200)
        self.client.reconnect_delay_set(0.2, 1)  # type: ignore[arg-type]  # fractions work
        self.client.on_publish = self._on_publish
        mqtt = platform.demo["mqtt"]
        self.client.connect(mqtt["host"], mqtt["port"])
        self.client.loop_start()

    def send(self, number: int) -> None:
        self.log.sent.add(number)
        packet_id = self.client.publish(self._topic, self.message(number), qos=1).mid
        with self._lock:
            if packet_id in self._early:
                self._early.remove(packet_id)
                self.log.acknowledged.add(number)
            else:
                self._numbers[packet_id] = number

    def _on_publish(self, _client: Any, _data: Any, packet_id: int, _reason: Any, _properties: Any) -> None:
        with self._lock:
            number = self._numbers.pop(packet_id, None)
            if number is None:
                self._early.add(packet_id)
            else:
                self.log.acknowledged.add(number)

    def finish(self) -> None:
        super().finish()
        self.client.disconnect()
        self.client.loop_stop()


class AmqpSender(Sender):
    """Publisher confirms, one message after the other; again over a new connection until it is confirmed."""

    protocol = "amqp"

    def __init__(self, platform: Platform, key: str, **options: Any) -> None:
        super().__init__(platform, key, **options)
        amqp = platform.demo["amqp"]
        login = pika.PlainCredentials(self.entry["username"], self.entry["password"])
        self._parameters = pika.ConnectionParameters(amqp["host"], amqp["port"], credentials=login)
        self._channel: Any = None

    def send(self, number: int) -> None:
        self.log.sent.add(number)
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            try:
                self._channel = self._channel or self._connect()
                self._channel.basic_publish("iiot.telemetry", f"acme.{self.key}.telemetry", self.message(number), mandatory=True)
            except (pika.exceptions.AMQPError, OSError):
                self._channel = None
                time.sleep(0.3)
            else:
                self.log.acknowledged.add(number)
                return

    def _connect(self) -> Any:
        channel = pika.BlockingConnection(self._parameters).channel()
        channel.confirm_delivery()
        return channel

    def finish(self) -> None:
        super().finish()
        if self._channel is not None and self._channel.connection.is_open:
            self._channel.connection.close()


class HttpSender(Sender):
    """One request per message, again and again until it is answered with 2xx."""

    protocol = "http"

    def __init__(self, platform: Platform, key: str, **options: Any) -> None:
        super().__init__(platform, key, **options)
        self._url = f"{platform.demo['http']}/api/v1/telemetry"

    def send(self, number: int) -> None:
        self.log.sent.add(number)
        headers = {"Authorization": f"Bearer {self.entry['token']}", "Content-Type": "application/json"}
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            request = urllib.request.Request(self._url, self.message(number), headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                status = 0
            self.server_errors += status >= 500
            if 200 <= status < 300:
                self.log.acknowledged.add(number)
                return
            time.sleep(0.2)
