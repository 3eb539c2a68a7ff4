"""A whole platform, started as a stranger starts it, with the demo in it and its simulator off."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
STOP_SECONDS = 30.0
WAIT_SECONDS = 20.0
# What `make test` exports for its own servers; the platform has to find its own.
FOREIGN_VARIABLES = {"DATABASE_URL", "REDIS_URL", "MQTT_URL", "AMQP_URL", "MQTT_PUBLIC_HOST", "MQTT_PUBLIC_PORT"}
FOREIGN_VARIABLES |= {"AMQP_PUBLIC_HOST", "AMQP_PUBLIC_PORT", "DJANGO_SETTINGS_MODULE", "IIOT_SECRET_KEY", "IIOT_DATA_DIR"}


def wait_until(is_true: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Device:
    """A device of the demo as a real MQTT client."""

    def __init__(self, platform: "Platform", entry: dict[str, Any]) -> None:
        self.key, self.id, self.topic = str(entry["key"]), str(entry["id"]), str(entry["topic"])
        self.received: list[str] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(entry["username"], entry["password"])
        self._client.max_inflight_messages_set(1_000)
        self._client.max_queued_messages_set(0)
        self._client.on_message = lambda _client, _data, message: self.received.append(message.topic)
        self._client.on_disconnect = self._note_disconnect
        self.disconnects: list[ReasonCode] = []
        mqtt = platform.demo["mqtt"]
        self._client.connect(mqtt["host"], mqtt["port"])
        self._client.loop_start()
        wait_until(lambda: self._client.is_connected() or bool(self.disconnects))
        assert self._client.is_connected(), f"the broker refused the device: {self.disconnects}"

    def publish(self, message: object, *, topic: str = "", wait: bool = True) -> None:
        """Publish with QoS 1; by default wait until the broker has it."""
        info = self._client.publish(topic or self.topic, json.dumps(message), qos=1)
        if wait:
            info.wait_for_publish(WAIT_SECONDS)

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _note_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.disconnects.append(reason)


@dataclass(slots=True)
class Platform:
    """A running platform."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    demo: dict[str, Any]

    def call(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        """Call the API and return its JSON; HTTP errors raise."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.demo['http']}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def log_in(self, role: str, *, tenant: str = "acme") -> str:
        """Return an access token of a person of the demo."""
        login = self.demo["tenants"][tenant]["users"][role]
        return str(self.call("POST", "/auth/login", {**login, "tenant": tenant})["access"])

    def device_entry(self, key: str, *, tenant: str = "acme") -> dict[str, Any]:
        return next(entry for entry in self.demo["tenants"][tenant]["devices"] if entry["key"] == key)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Look into the database."""
        url = json.loads((self.folder / "run" / "servers.json").read_text())["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            return connection.execute(statement, parameters).fetchall()

    def values(self, device: str, metric: str, *, tenant: str = "acme") -> list[float]:
        """Return all stored values of a series, in the order of their times."""
        rows = self.query(
            f"SELECT r.value FROM t_{tenant}.telemetry_reading r JOIN t_{tenant}.devices_device d ON d.id = r.device_id"
            f" JOIN t_{tenant}.devices_metric m ON m.id = r.metric_id WHERE d.key = %s AND m.key = %s ORDER BY r.ts",
            device,
            metric,
        )
        return [row[0] for row in rows]

    def is_ready(self, name: str) -> bool:
        """Tell whether a process that the supervisor watches serves."""
        state: dict[str, Any] = json.loads((self.folder / "run" / "status.json").read_text()).get(name, {})
        return state.get("state") == "ready"

    def process_id(self, name: str) -> int:
        """Return the process id of a process that the supervisor watches; waits while it is being started."""
        status = self.folder / "run" / "status.json"
        wait_until(lambda: json.loads(status.read_text())[name]["pid"] is not None)
        return int(json.loads(status.read_text())[name]["pid"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Start `manage.py up` in a folder of its own; stop it as Ctrl-C does."""
    folder = tmp_path_factory.mktemp("platform")
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    env |= {"IIOT_DATA_DIR": str(folder), "IIOT_HTTP_PORT": str(_free_port()), "IIOT_SIMULATE": "0", "IIOT_PG_FAST": "1"}
    output = folder / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while b"Ready: " not in output.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the platform did not start:\n{output.read_text()[-4000:]}")
            time.sleep(0.1)
        yield Platform(process, folder, json.loads((folder / "demo.json").read_text()))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


ConnectDevice = Callable[..., Device]


@pytest.fixture
def connect(platform: Platform) -> Iterator[ConnectDevice]:
    """Return `connect(key, tenant="acme")`: the device, connected to the broker."""
    devices: list[Device] = []

    def make(key: str, *, tenant: str = "acme") -> Device:
        devices.append(Device(platform, platform.device_entry(key, tenant=tenant)))
        return devices[-1]

    yield make
    for device in devices:
        device.close()
