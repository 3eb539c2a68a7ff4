"""The demo's machines that wait to be asked: an OPC UA server and a Modbus TCP server on this host, both on one thread.

The OPC UA server takes Basic256Sha256, signed and encrypted, with any client certificate and no login: it shows made-up values.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.server.server import Server
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from iiot_site.demo.addresses import COIL, HOLDING, HOST, PLANT_NAMESPACE, fill, lay_out, node_name, unit_of
from iiot_site.demo.demo_file import DemoDeviceEntry, PlantEntry
from iiot_site.demo.plant import DEVICE_TYPES
from protocols.opcua.identity import load_identity

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_KINDS = {"number": ua.VariantType.Double, "boolean": ua.VariantType.Boolean, "text": ua.VariantType.String}
_EMPTY = {"number": 0.0, "boolean": False, "text": ""}
_WRITE_COILS, _WRITE_REGISTERS = 15, 16


class PlantLink:
    """A machine that shows its values until somebody asks; fits `links.Link`."""

    starts_late = False

    def __init__(self, plant: "SimulatedPlant", entry: DemoDeviceEntry) -> None:
        self._plant = plant
        self._entry = entry
        self._last: Future[None] | None = None

    @property
    def is_connected(self) -> bool:
        return self._plant.is_serving

    def publish(self, payload: str) -> None:
        message = json.loads(payload)
        self._last = self._plant.show(self._entry, message["values"], datetime.fromtimestamp(message["ts"] / 1000, UTC))

    def flush(self, *, timeout_seconds: float) -> None:
        if self._last is not None:
            wait([self._last], timeout_seconds)

    def close(self) -> None:
        """The plant is closed as a whole."""


class SimulatedPlant:
    """Both servers, for the devices whose protocol is theirs. `folder` holds the OPC UA server's certificate."""

    def __init__(self, entries: Sequence[DemoDeviceEntry], ports: PlantEntry, *, folder: Path) -> None:
        self._entries = entries
        self._ports = ports
        self._folder = folder
        self._opcua: Server | None = None
        self._modbus: ModbusTcpServer | None = None
        self._nodes: dict[str, ua.NodeId] = {}
        self.is_serving = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated plant", daemon=True)
        self._thread.start()
        self._started = self._submit(self._start())

    def show(self, entry: DemoDeviceEntry, values: dict[str, Any], at: datetime) -> "Future[None]":
        """Let a machine show these values; returns at once."""
        return self._submit(self._show(entry, values, at))

    def close(self) -> None:
        """Stop both servers."""
        try:
            self._submit(self._stop()).result(STOP_SECONDS)
        except TimeoutError:
            logger.warning("the simulated plant did not stop in time")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    def _submit(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(_logged(work), self._loop)

    # --- In the loop

    async def _start(self) -> None:
        if nodes := [entry for entry in self._entries if entry["protocol"] == "opcua"]:
            self._opcua = await self._make_opcua(nodes)
            await self._opcua.start()
        if units := [_make_unit(entry) for entry in self._entries if entry["protocol"] == "modbus"]:
            self._modbus = ModbusTcpServer(units, address=(HOST, self._ports["modbus"]))
            await self._modbus.serve_forever(background=True)
        self.is_serving = True

    async def _stop(self) -> None:
        self.is_serving = False
        if self._modbus is not None:
            await self._modbus.shutdown()  # type: ignore[no-untyped-call]  # pymodbus left it out
        if self._opcua is not None:
            await self._opcua.stop()

    async def _make_opcua(self, entries: Sequence[DemoDeviceEntry]) -> Server:
        identity = load_identity(self._folder)
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{HOST}:{self._ports['opcua']}")
        server.set_server_name("Simulated plant")
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.set_application_uri(identity.application_uri)
        await server.load_certificate(identity.certificate, "der")
        await server.load_private_key(identity.private_key, format="pem")
        index = await server.register_namespace(PLANT_NAMESPACE)
        for entry in entries:
            machine = await server.nodes.objects.add_folder(_node_id(entry["username"], index), entry["username"])
            for metric in DEVICE_TYPES[entry["type"]]:
                name = node_name(entry["username"], metric.key)
                kind = _KINDS[metric.data_type]
                node = await machine.add_variable(_node_id(name, index), metric.key, _EMPTY[metric.data_type], kind)
                self._nodes[name] = node.nodeid
        return server

    async def _show(self, entry: DemoDeviceEntry, values: dict[str, Any], at: datetime) -> None:
        await asyncio.wrap_future(self._started)
        if not self.is_serving:
            return
        if entry["protocol"] == "opcua" and self._opcua is not None:
            moment = ua.DateTime.fromtimestamp(at.timestamp(), UTC)
            for metric in DEVICE_TYPES[entry["type"]]:
                variant = ua.Variant(values[metric.key], _KINDS[metric.data_type])
                data = ua.DataValue(variant, SourceTimestamp=moment, ServerTimestamp=moment)
                await self._opcua.write_attribute_value(self._nodes[node_name(entry["username"], metric.key)], data)
        elif self._modbus is not None:
            coils, words = fill(lay_out(DEVICE_TYPES[entry["type"]]), values)
            unit = unit_of(entry["username"])
            await self._modbus.async_setValues(unit, _WRITE_REGISTERS, 0, words)
            if coils:
                await self._modbus.async_setValues(unit, _WRITE_COILS, 0, coils)


def _node_id(name: str, index: int) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(index))


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Nobody asks these for their result: say what went wrong."""
    try:
        await work
    except Exception:  # the edge of the thread; the other machines go on
        logger.exception("the simulated plant has a fault")
        raise


def _make_unit(entry: DemoDeviceEntry) -> SimDevice:
    """Return a machine with its coils and holding registers; discrete inputs and input registers have one each that nobody reads."""
    registers = lay_out(DEVICE_TYPES[entry["type"]])
    sizes = {table: max(1, sum(register.width for register in registers if register.table == table)) for table in (COIL, HOLDING)}
    coils = SimData(0, values=[False] * sizes[COIL], datatype=DataType.BITS)
    holding = SimData(0, values=[0] * sizes[HOLDING], datatype=DataType.REGISTERS)
    unused = SimData(0, values=[False], datatype=DataType.BITS), SimData(0, values=[0], datatype=DataType.REGISTERS)
    return SimDevice(unit_of(entry["username"]), ([coils], [unused[0]], [holding], [unused[1]]))
