"""The simulated machines that wait to be asked: our own clients find what the machine shows, where the demo says it is."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from connections.opcua_types import OpcUaTarget
from connections.types import RegisterSpec
from iiot_site.demo.addresses import PLANT_NAMESPACE, fill, lay_out, node_name, unit_of
from iiot_site.demo.plant import DEVICE_TYPES
from iiot_site.demo.simulated_plant import PlantLink, SimulatedPlant
from protocols.modbus.blocks import decode_block, plan_blocks
from protocols.modbus.client import ModbusClient
from protocols.modbus.registers import decode_value
from protocols.opcua.client import open_session
from protocols.opcua.identity import load_identity
from protocols.opcua.node_ids import parse_node_id
from tests.ports import free_port
from tests.waiting import WAIT_SECONDS

AT_MS = 1_770_000_000_500
VALUES: dict[str, dict[str, Any]] = {
    "Furnace": {"temperature": 861.5, "power": 180.0, "door_open": True},
    "Compressor": {"temperature": 72.1, "pressure": 7.11, "power": 55.0, "state": "unload"},
    "Pump": {"temperature": 48.0, "pressure": 4.2, "vibration": 2.1, "current": 21.0, "running": True},
}


def entry(key: str, kind: str, protocol: str) -> Any:
    return {"username": f"acme/{key}", "type": kind, "protocol": protocol}


FURNACE, COMPRESSOR = entry("furnace-2", "Furnace", "opcua"), entry("compressor-2", "Compressor", "modbus")


@pytest.fixture(scope="module")
def ports() -> Any:
    return {"opcua": free_port(), "modbus": free_port()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plant")


@pytest.fixture(scope="module")
def plant(ports: Any, folder: Path) -> Iterator[SimulatedPlant]:
    plant = SimulatedPlant([FURNACE, COMPRESSOR], ports, folder=folder)
    for machine in (FURNACE, COMPRESSOR):
        link = PlantLink(plant, machine)
        link.publish(json.dumps({"ts": AT_MS, "values": VALUES[machine["type"]]}))
        link.flush(timeout_seconds=WAIT_SECONDS)
        assert link.is_connected
    yield plant
    plant.close()


def specs(kind: str) -> list[RegisterSpec]:
    return [RegisterSpec(r.metric, r.table, r.address, r.width, r.data_type) for r in lay_out(DEVICE_TYPES[kind])]


@pytest.mark.parametrize("kind", VALUES)
def test_the_platform_reads_from_the_registers_what_was_written_there(kind: str) -> None:
    coils, words = fill(lay_out(DEVICE_TYPES[kind]), VALUES[kind])
    tables: dict[str, list[int]] = {"coil": [int(coil) for coil in coils], "holding": words}
    read = {spec.metric: decode_value(spec, tables[spec.table][spec.address :][: spec.width]) for spec in specs(kind)}
    assert read == VALUES[kind]


def test_the_modbus_client_finds_the_machine_behind_its_unit(plant: SimulatedPlant, ports: Any) -> None:
    async def read() -> dict[str, Any]:
        client = ModbusClient("127.0.0.1", ports["modbus"], unit_id=unit_of("acme/compressor-2"), timeout_seconds=WAIT_SECONDS)
        await client.connect()
        found: dict[str, Any] = {}
        for block in plan_blocks(specs("Compressor")):
            values, fault = decode_block(block, await client.read(block))
            assert not fault
            found |= values
        client.close()
        return found

    assert asyncio.run(read()) == VALUES["Compressor"]


def test_the_opcua_client_finds_values_with_their_source_time(plant: SimulatedPlant, ports: Any, folder: Path, tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{ports['opcua']}"
    target = OpcUaTarget(1, "plant", url, trusted_certificate=load_identity(folder).certificate)

    async def read() -> ua.DataValue:
        async with open_session(target, identity=load_identity(tmp_path), networks=["127.0.0.0/8"]) as client:
            namespaces = await client.get_namespace_array()
            node_id = parse_node_id(f"nsu={PLANT_NAMESPACE};s={node_name('acme/furnace-2', 'temperature')}", namespaces)
            return await client.get_node(node_id).read_data_value()

    data = asyncio.run(read())
    assert data.Value is not None
    assert data.Value.Value == 861.5
    assert data.SourceTimestamp is not None
    assert int(data.SourceTimestamp.timestamp() * 1000) == AT_MS
