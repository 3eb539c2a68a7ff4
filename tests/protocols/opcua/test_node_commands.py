"""A command to a device that hangs on a plant's server writes the mapped node; the server's answer is the command's."""

from typing import Any

import pytest
from asyncua import ua
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import save_opcua_server
from devices.command_services import queue_command
from devices.models import Command, Device
from protocols.opcua.listener import OpcUaListener
from protocols.opcua.node_values import UnfitValueError, make_variant, pick_value
from protocols.opcua.values import Scaling
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.opcua.conftest import MapNode, readings, state_of
from tests.protocols.opcua.plant import PlantServer
from tests.waiting import wait_until

V = ua.VariantType


@pytest.fixture
def _over_opcua(pump: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        Device.objects.filter(pk=pump.pk).update(protocol="opcua")


def queue(tenant: Tenant, name: str, payload: Any = None) -> str:
    with tenant_context(tenant):
        return str(queue_command(device=Device.objects.get(key="pump-7"), name=name, payload=payload, now=timezone.now()).pk)


def find(tenant: Tenant, command_id: str) -> Command:
    with tenant_context(tenant):
        return Command.objects.get(pk=command_id)


@pytest.mark.usefixtures("_over_opcua")
def test_a_command_writes_its_node_and_the_servers_answer_is_kept(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add_writable("Speed", 0, V.Int16), "temperature", scale=0.1, command="set_speed")
    map_node(plant.add("Fixed", 1.0), "pressure", command="set_fixed")
    map_node(plant.add_writable("Start", False), "running", command="start")
    wait_until(lambda: state_of(acme).item_count == 3)
    speed, start = queue(acme, "set_speed", {"rpm": 145.0}), queue(acme, "start")
    fixed, huge, other = queue(acme, "set_fixed", 2.0), queue(acme, "set_speed", {"rpm": 10_000}), queue(acme, "unmapped")
    wait_until(lambda: find(acme, other).state == "failed")
    done = find(acme, speed)
    assert (done.state, done.attempts, done.response and done.response["value"]) == ("acknowledged", 1, 145.0)
    assert find(acme, start).state == "acknowledged"
    assert (plant.read("Speed"), plant.read("Start")) == (1450, True)
    assert "BadUserAccessDenied" in find(acme, fixed).error or "BadNotWritable" in find(acme, fixed).error
    assert "out of the range of Int16" in find(acme, huge).error
    assert "unmapped" in find(acme, other).error
    wait_until(lambda: (145.0, 0) in readings(acme))  # the node is read back as any other


@pytest.mark.usefixtures("_over_opcua")
def test_a_command_waits_for_its_server(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.opcua.session.LAST_RETRY_SECONDS", 0.2)
    plant.stop()
    map_node("nsu=http://plant.example/;s=Speed", command="set_speed")
    wait_until(lambda: state_of(acme).state == "failing")
    speed = queue(acme, "set_speed", 7.0)
    with tenant_context(acme):
        wait_until(lambda: Command.objects.get().offer_at > timezone.now())  # tried, and put back
        assert find(acme, speed).state == "queued"
        plant.start()
        plant.add_writable("Speed", 0.0)
        wait_until(lambda: state_of(acme).state == "connected")
        Command.objects.update(offer_at=timezone.now())
        queue(acme, "set_speed", 8.0)  # wakes the dispatcher
        wait_until(lambda: find(acme, speed).state == "acknowledged")
        wait_until(lambda: plant.read("Speed") == 8.0)


@pytest.mark.usefixtures("_over_opcua")
def test_a_command_never_writes_another_tenants_node(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, globex: Tenant, acme: Tenant, make_device: MakeDevice
) -> None:
    map_node(plant.add_writable("Speed", 1.0), command="set_speed")
    with tenant_context(globex):
        make_device("pump-7", protocol="opcua")
        fan = make_device("fan-1", protocol="opcua")
        server = save_opcua_server(server=OpcUaServer(name="Off", endpoint_url=plant.url, is_enabled=False))
        OpcUaNode.objects.create(server=server, node_id="s=Speed", device=fan, metric="temperature", command="set_speed")
    foreign = queue(globex, "set_speed", 99.0)
    wait_until(lambda: find(globex, foreign).state == "failed")
    assert plant.read("Speed") == 1.0


@pytest.mark.parametrize(
    ("payload", "value"), [(None, True), ({}, True), (5, 5), ({"rpm": 1.5}, 1.5), ({"mode": "auto"}, "auto"), (False, False)]
)
def test_a_payload_is_one_value(payload: Any, value: object) -> None:
    assert pick_value(payload) == value


@pytest.mark.parametrize("payload", [{"a": 1, "b": 2}, [1], {"a": [1]}, {"a": None}])
def test_several_values_are_refused(payload: Any) -> None:
    with pytest.raises(UnfitValueError):
        pick_value(payload)


@pytest.mark.parametrize(
    ("value", "kind", "scaling", "raw"),
    [
        (21.5, V.Int16, Scaling(0.1), 215),
        (21.5, V.Double, Scaling(0.5, 1.5), 40.0),
        (3, V.Double, Scaling(), 3.0),
        (255, V.Byte, Scaling(), 255),
        (2**63 - 1, V.Int64, Scaling(), 2**63 - 1),
        (True, V.Boolean, Scaling(), True),
        ("Rinse", V.String, Scaling(), "Rinse"),
    ],
)
def test_a_value_becomes_the_nodes_type(value: Any, kind: ua.VariantType, scaling: Scaling, raw: object) -> None:
    variant = make_variant(value, kind, scaling)
    assert (variant.Value, type(variant.Value), variant.VariantType) == (raw, type(raw), kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1.5, V.Int16), (256, V.Byte), (-1, V.UInt32), (1e39, V.Float), (True, V.Int16), (1, V.Boolean), ("1", V.Double), (1, V.ByteString)],
)
def test_what_the_type_does_not_take_is_refused(value: Any, kind: ua.VariantType) -> None:
    with pytest.raises(UnfitValueError):
        make_variant(value, kind, Scaling())
