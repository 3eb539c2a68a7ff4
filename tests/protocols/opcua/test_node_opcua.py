"""Our client against a foreign server: node-opcua's. Where IIOT_NODE_OPCUA names a folder with it; see docs/protocols/opcua.md.

It is no dependency of ours: 120 packages, 70 MB. Some seconds go into Node's start, and its keys at the first.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import save_opcua_node, save_opcua_server, trust_certificate
from devices.models import Device
from protocols.opcua.identity import Identity
from protocols.opcua.listener import OpcUaListener
from telemetry.models import Reading
from tenants.models import Tenant
from tests.ports import free_port
from tests.protocols.opcua.conftest import readings, state_of
from tests.protocols.opcua.plant import PASSWORD, USERNAME
from tests.protocols.running import running
from tests.waiting import wait_until

FOLDER = os.environ.get("IIOT_NODE_OPCUA", "")
HAS_SERVER = bool(FOLDER) and Path(FOLDER, "node_modules", "node-opcua-server").exists() and shutil.which("node") is not None
pytestmark = pytest.mark.skipif(not HAS_SERVER, reason="IIOT_NODE_OPCUA names no folder in which npm installed node-opcua-server")
SECONDS = 60.0  # at most; Node starts slowly on a busy machine


class NodeServer:
    """Starts, obeys, dies."""

    def __init__(self, port: int, folder: Path) -> None:
        script = Path(__file__).with_name("node_server.cjs")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["node", str(script), str(port), str(folder)],
            env={**os.environ, "NODE_PATH": str(Path(FOLDER, "node_modules"))},
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._expect("ready")

    def write(self, value: float, at: datetime, status: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"write {value} {at.isoformat()} {status}\n")
        self._process.stdin.flush()
        self._expect("done")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        assert any(line.strip() == word for line in lines), "node-opcua ended"


@pytest.fixture
def listener(platform_identity: Identity, pump: Device) -> Iterator[OpcUaListener]:
    with running(OpcUaListener(platform_identity)) as listener:
        yield listener


def test_it_reads_node_opcua_with_status_and_source_time_and_comes_back(
    tmp_path: Path, pump: Device, listener: OpcUaListener, acme: Tenant
) -> None:
    port = free_port()
    server = NodeServer(port, tmp_path)
    try:
        with tenant_context(acme):
            row = OpcUaServer(name="node-opcua", endpoint_url=f"opc.tcp://127.0.0.1:{port}", authentication="password", username=USERNAME)
            row.publishing_interval = timedelta(seconds=0.1)
            save_opcua_server(server=row, password=PASSWORD)
            node_id = "nsu=http://node-opcua.example/;s=Temperature"
            save_opcua_node(node=OpcUaNode(server=row, node_id=node_id, device=pump, metric="temperature"))
        wait_until(lambda: state_of(acme).offered_fingerprint != "", seconds=SECONDS)
        with tenant_context(acme):
            trust_certificate(server=row, fingerprint=state_of(acme).offered_fingerprint)
        wait_until(lambda: (20.0, 0) in readings(acme), seconds=SECONDS)
        at = (datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=123_000)
        for number, status in enumerate(("Good", "UncertainLastUsableValue", "BadSensorFailure")):
            server.write(21.0 + number, at + timedelta(seconds=number), status)
            wait_until(lambda count=number: len(readings(acme)) == count + 2, seconds=SECONDS)  # type: ignore[misc]  # it samples
        assert readings(acme)[1:3] == [(21.0, 0), (22.0, 1)]
        assert readings(acme)[3][1] == 2
        with tenant_context(acme):
            assert list(Reading.objects.order_by("ts").values_list("ts", flat=True))[1:] == [at + timedelta(seconds=n) for n in range(3)]
        server.kill()
        server = NodeServer(port, tmp_path)
        server.write(30.0, at + timedelta(seconds=5), "Good")
        wait_until(lambda: (30.0, 0) in readings(acme), seconds=SECONDS)
    finally:
        server.kill()
