"""A running platform, and its devices as real MQTT clients."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.platform import Platform, running_platform
from tests.waiting import WAIT_SECONDS, wait_until


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


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform, the same for all stories."""
    with running_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


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
