"""Where the platform finds the values of demo machines that it calls: node ids, units and registers; and the words in them. Pure.

Source: MODBUS Application Protocol Specification V1.1b3. Numbers are float32, high word first; texts two characters a register.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iiot_site.demo.plant import TENANTS, DemoMetric

HOST = "127.0.0.1"
PLANT_NAMESPACE = "urn:iiot-demo:plant"
TEXT_REGISTERS = 8
HOLDING, COIL = "holding", "coil"
Value = float | bool | str


@dataclass(frozen=True, slots=True)
class DemoRegister:
    """One value: its table, first address, type and width in registers or coils."""

    metric: str
    table: str
    address: int
    data_type: str
    width: int


def node_name(device: str, metric: str) -> str:
    """Return the OPC UA identifier of a value; `device` is `<tenant>/<key>`."""
    return f"{device}/{metric}"


def unit_of(device: str) -> int:
    """Return the Modbus unit of a device `<tenant>/<key>`: all stand behind one gateway."""
    units = [f"{tenant.slug}/{device.key}" for tenant in TENANTS for device in tenant.devices if device.protocol == "modbus"]
    return 1 + units.index(device)


def lay_out(metrics: Sequence[DemoMetric]) -> list[DemoRegister]:
    """Return the register map of a type: booleans are coils, the rest holding registers, each table without gaps from 0."""
    following = {HOLDING: 0, COIL: 0}
    found = []
    for metric in metrics:
        table, data_type, width = {
            "boolean": (COIL, "bool", 1),
            "text": (HOLDING, "string", TEXT_REGISTERS),
        }.get(metric.data_type, (HOLDING, "float32", 2))
        found.append(DemoRegister(metric.key, table, following[table], data_type, width))
        following[table] += width
    return found


def fill(registers: Sequence[DemoRegister], values: Mapping[str, Value]) -> tuple[list[bool], list[int]]:
    """Return all coils and all holding registers of a machine that shows these values."""
    coils = [bool(values[register.metric]) for register in registers if register.table == COIL]
    words: list[int] = []
    for register in registers:
        if register.table == HOLDING:
            words += _words(register, values[register.metric])
    return coils, words


def _words(register: DemoRegister, value: Value) -> list[int]:
    if register.data_type == "string":
        raw = str(value).encode()[: 2 * register.width].ljust(2 * register.width, b"\0")
    else:
        raw = struct.pack(">f", float(value))
    return list(struct.unpack(f">{register.width}H", raw))
