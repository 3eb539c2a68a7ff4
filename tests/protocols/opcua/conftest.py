"""A plant's server and a listener, both in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import save_opcua_node, save_opcua_server
from devices.models import Device, Metric
from protocols.opcua.identity import Identity, load_identity
from protocols.opcua.listener import OpcUaListener
from telemetry.models import Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.opcua.plant import PlantServer
from tests.protocols.running import running
from tests.waiting import wait_until

MapNode = Callable[..., OpcUaNode]


@pytest.fixture(scope="session")
def platform_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return load_identity(tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="session")
def plant_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant")
    load_identity(folder)
    return folder


@pytest.fixture
def plant(plant_folder: Path) -> Iterator[PlantServer]:
    server = PlantServer(plant_folder).start()
    yield server
    server.close()


@pytest.fixture
def pump(transactional_db: None, acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        device = make_device("pump-7", metrics=("temperature", "pressure"))
        Metric.objects.create(device_type=device.device_type, key="running", data_type="boolean")
        Metric.objects.create(device_type=device.device_type, key="program", data_type="text")
        return device


@pytest.fixture
def plc(pump: Device, plant: PlantServer, acme: Tenant) -> OpcUaServer:
    """The plant's server as acme knows it: its certificate accepted."""
    with tenant_context(acme):
        server = OpcUaServer(name="PLC 7", endpoint_url=plant.url, trusted_certificate=plant.identity.certificate)
        server.publishing_interval *= 0.2
        return save_opcua_server(server=server)


@pytest.fixture
def map_node(plc: OpcUaServer, pump: Device, acme: Tenant) -> MapNode:
    """Return `map_node(node_id, metric, **fields)`."""

    def make(node_id: str, metric: str = "temperature", **fields: object) -> OpcUaNode:
        with tenant_context(acme):
            return save_opcua_node(node=OpcUaNode(server=plc, node_id=node_id, device=pump, metric=metric, **fields))

    return make


@pytest.fixture
def listener(platform_identity: Identity, plc: OpcUaServer) -> Iterator[OpcUaListener]:
    """A listener that runs until the test ends."""
    with running(OpcUaListener(platform_identity)) as listener:
        yield listener


def readings(tenant: Tenant, metric: str = "temperature") -> list[tuple[float, int]]:
    """Return value and quality of all readings of a metric, oldest first."""
    with tenant_context(tenant):
        return list(Reading.objects.filter(metric__key=metric).order_by("ts").values_list("value", "quality"))


def reasons(tenant: Tenant) -> list[str]:
    """Return why messages were refused."""
    with tenant_context(tenant):
        return list(RejectedMessage.objects.order_by("received_at").values_list("reason", flat=True))


def state_of(tenant: Tenant) -> OpcUaServer:
    with tenant_context(tenant):
        return OpcUaServer.objects.get()


__all__ = ["readings", "reasons", "state_of", "wait_until"]
