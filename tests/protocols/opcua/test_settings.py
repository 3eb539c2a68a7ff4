"""What the listener reads of a tenant."""

from datetime import datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import save_opcua_node, save_opcua_server
from devices.models import Metric
from protocols.opcua.settings import load_opcua_settings
from telemetry.services import store_readings
from telemetry.types import NewReading
from tenants.models import Tenant
from tests.conftest import MakeDevice


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def node(in_acme: Tenant, make_device: MakeDevice, now: datetime) -> OpcUaNode:
    """A node whose metric has a value."""
    pump = make_device("pump-7", metrics=("temperature",))
    store_readings(readings=[NewReading(pump.pk, Metric.objects.get().pk, now, now, 20.5, None, 0)], now=now)
    server = save_opcua_server(server=OpcUaServer(name="PLC 7", endpoint_url="opc.tcp://127.0.0.1:4841"))
    return save_opcua_node(node=OpcUaNode(server=server, node_id="ns=2;s=T", device=pump, metric="temperature"))


def test_last_values_are_read_for_a_session_that_is_to_begin(node: OpcUaNode, now: datetime) -> None:
    last_values = load_opcua_settings(is_read=lambda target: False).last_values
    assert {mapping_id: (last.value, last.ts) for mapping_id, last in last_values.items()} == {node.pk: (20.5, now)}


def test_a_session_that_runs_costs_no_look_at_the_readings(node: OpcUaNode) -> None:
    with CaptureQueriesContext(connection) as queries:
        settings = load_opcua_settings(is_read=lambda target: True)
    assert [target.name for target in settings.targets] == ["PLC 7"]
    assert not [query for query in queries if "telemetry_" in query["sql"]]
