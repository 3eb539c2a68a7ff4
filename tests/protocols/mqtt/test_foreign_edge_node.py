"""A foreign edge node, by the npm package sparkplug-client, where IIOT_SPARKPLUG_CLIENT names a folder with it; see docs/protocols/mqtt.md.

It is no dependency of ours: 50 packages, 33 MB. A second goes into Node's start.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from devices.services import issue_credential
from protocols.broker_address import BrokerAddress
from protocols.login_sync import LoginSync
from protocols.mqtt.listener import MqttListener
from protocols.mqtt.logins import PasswordFile
from telemetry.models import Reading, RejectedMessage, TextReading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.running import running
from tests.waiting import wait_until

FOLDER = os.environ.get("IIOT_SPARKPLUG_CLIENT", "")
HAS_CLIENT = bool(FOLDER) and Path(FOLDER, "node_modules", "sparkplug-client").exists() and shutil.which("node") is not None
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not HAS_CLIENT, reason="IIOT_SPARKPLUG_CLIENT names no folder in which npm installed sparkplug-client"),
]


class EdgeNode:
    """Starts with its births, obeys, dies."""

    def __init__(self, port: int, password: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["node", str(Path(__file__).with_name("edge_node.cjs")), str(port), password],
            env={**os.environ, "NODE_PATH": str(Path(FOLDER, "node_modules"))},
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.expect("connected")

    def tell(self, word: str, *metrics: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {json.dumps(metrics, separators=(',', ':'))}\n")
        self._process.stdin.flush()

    def expect(self, word: str) -> None:
        assert self._process.stdout is not None
        assert any(line.strip() == word for line in iter(self._process.stdout.readline, "")), "the edge node ended"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def password(acme: Tenant, make_device: MakeDevice) -> str:
    with tenant_context(acme):
        node = make_device("edge-1")
        make_device("edge-1_tank", gateway=node)
        return issue_credential(device=node, kind="mqtt", now=timezone.now()).secret


@pytest.fixture
def node(own_broker: BrokerAddress, password: str, tmp_path: Path) -> Iterator[EdgeNode]:
    sync = LoginSync(PasswordFile(tmp_path / "passwords", tmp_path / "pid"))
    ready = tmp_path / "ready"
    listener = MqttListener(own_broker, client_id="listener", ready_file=ready, login_sync=sync)
    with running(listener, ready_file=ready):
        node = EdgeNode(own_broker.port, password)
        yield node
        node.kill()
        sync.stop()


def test_a_foreign_edge_node_is_understood_from_birth_to_death(acme: Tenant, node: EdgeNode) -> None:
    def values(metric: str, key: str = "edge-1") -> list[float]:
        with tenant_context(acme):
            return list(Reading.objects.filter(device__key=key, metric__key=metric).order_by("ts").values_list("value", flat=True))

    def connection(key: str) -> str:
        with tenant_context(acme):
            return str(Device.objects.get(key=key).connection)

    wait_until(lambda: values("Level", "edge-1_tank") == [0.5])
    assert [values(metric) for metric in ("Temperature", "Running", "Offset", "Total", "Nothing")] == [[20.5], [1.0], [-5.0], [-7.0], []]
    with tenant_context(acme):
        assert TextReading.objects.get().value == "Grüße"
    wait_until(lambda: connection("edge-1") == connection("edge-1_tank") == "online")

    node.tell("data", {"alias": 1, "type": "Float", "value": 21.5})
    node.tell("device-data", {"alias": 7, "type": "Double", "value": 0.25})
    node.tell("compressed", {"alias": 1, "type": "Float", "value": 22.5})
    node.tell("gzipped", {"alias": 1, "type": "Float", "value": 23.5})
    wait_until(lambda: len(values("Temperature")) == 4)
    assert values("Temperature") == [20.5, 21.5, 22.5, 23.5]
    assert values("Level", "edge-1_tank") == [0.5, 0.25]

    node.tell("data", {"alias": 99, "type": "Float", "value": 1.0})
    node.expect("Node Control/Rebirth=true")
    wait_until(lambda: 30.5 in values("Temperature"))
    with tenant_context(acme):
        # each birth lists a metric that has no value
        assert set(RejectedMessage.objects.values_list("reason", flat=True)) == {"unknown_alias", "no_value"}

    node.tell("device-death")
    wait_until(lambda: connection("edge-1_tank") == "offline")
    assert connection("edge-1") == "online"
    node.kill()
    wait_until(lambda: connection("edge-1") == "offline")
