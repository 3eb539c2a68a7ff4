"""What the demo contains, as plain values. Raise `VERSION` when it changes, so that existing demos are completed."""

from dataclasses import dataclass
from typing import Any

VERSION = 5
ROLES = ("admin", "developer", "operator", "viewer", "auditor")


@dataclass(frozen=True, slots=True)
class DemoMetric:
    """A metric with the range in which a reading is plausible."""

    key: str
    name: str
    unit: str = ""
    data_type: str = "number"
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class DemoRule:
    """A threshold on one metric of a device type, with hysteresis."""

    name: str
    kind: str
    metric: str
    operator: str
    threshold: float
    clear_threshold: float
    severity: str


@dataclass(frozen=True, slots=True)
class DemoDevice:
    """A device at the site of that name. Devices that are not simulated are left for people to play with."""

    key: str
    name: str
    kind: str
    site: str
    is_simulated: bool = True
    protocol: str = "mqtt"


@dataclass(frozen=True, slots=True)
class DemoSite:
    """A node of the plant tree; its parent comes earlier in the list, "" for a root."""

    name: str
    kind: str
    parent: str
    timezone: str


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """An organisation with its plant."""

    slug: str
    name: str
    sites: tuple[DemoSite, ...]
    devices: tuple[DemoDevice, ...]


DEVICE_TYPES: dict[str, tuple[DemoMetric, ...]] = {
    "Pump": (
        DemoMetric("temperature", "Bearing temperature", "°C", minimum=-40, maximum=150),
        DemoMetric("pressure", "Discharge pressure", "bar", minimum=0, maximum=16),
        DemoMetric("vibration", "Vibration velocity", "mm/s", minimum=0, maximum=50),
        DemoMetric("current", "Motor current", "A", minimum=0, maximum=63),
        DemoMetric("running", "Running", data_type="boolean"),
    ),
    "Compressor": (
        DemoMetric("temperature", "Outlet temperature", "°C", minimum=-40, maximum=180),
        DemoMetric("pressure", "Line pressure", "bar", minimum=0, maximum=16),
        DemoMetric("power", "Electrical power", "kW", minimum=0, maximum=160),
        DemoMetric("state", "State", data_type="text"),
    ),
    "Furnace": (
        DemoMetric("temperature", "Chamber temperature", "°C", minimum=-40, maximum=1400),
        DemoMetric("power", "Heating power", "kW", minimum=0, maximum=400),
        DemoMetric("door_open", "Door open", data_type="boolean"),
    ),
    "Tank": (
        DemoMetric("level", "Level", "%", minimum=0, maximum=100),
        DemoMetric("temperature", "Liquid temperature", "°C", minimum=-40, maximum=120),
        DemoMetric("flow", "Net inflow", "m³/h", minimum=-120, maximum=120),
    ),
    "Conveyor": (
        DemoMetric("speed", "Belt speed", "m/s", minimum=0, maximum=5),
        DemoMetric("current", "Motor current", "A", minimum=0, maximum=40),
        DemoMetric("temperature", "Gearbox temperature", "°C", minimum=-40, maximum=150),
        DemoMetric("running", "Running", data_type="boolean"),
    ),
}

# What a type's simulated devices obey, where they are connected over MQTT. Types that declare none accept any command.
COMMANDS: dict[str, list[dict[str, Any]]] = {
    "Pump": [
        {"name": "start", "description": "Let the motor run"},
        {"name": "stop", "description": "Stop the motor", "is_dangerous": True},
        {
            "name": "set_speed",
            "description": "Speed of the motor, 1,450 rpm when nobody sets it",
            "parameters": [{"name": "rpm", "type": "integer", "required": True, "minimum": 600, "maximum": 1500}],
        },
    ],
}

# Vibration: limit of zone C to D for medium machines on rigid foundations, ISO 10816-3.
RULES = (
    DemoRule("Pump bearing too hot", "Pump", "temperature", ">", 80, 70, "critical"),
    DemoRule("Pump vibrates", "Pump", "vibration", ">", 7.1, 4.5, "high"),
    DemoRule("Compressor too hot", "Compressor", "temperature", ">", 95, 88, "high"),
    DemoRule("Air pressure low", "Compressor", "pressure", "<", 5.5, 6.0, "medium"),
    DemoRule("Furnace too hot", "Furnace", "temperature", ">", 950, 930, "critical"),
    DemoRule("Furnace lost its heat", "Furnace", "temperature", "<", 700, 760, "high"),
    DemoRule("Tank nearly full", "Tank", "level", ">", 95, 90, "high"),
    DemoRule("Tank nearly empty", "Tank", "level", "<", 8, 12, "medium"),
    DemoRule("Tank too warm", "Tank", "temperature", ">", 60, 55, "medium"),
    DemoRule("Conveyor overloaded", "Conveyor", "current", ">", 18, 15, "medium"),
    DemoRule("Conveyor gearbox too hot", "Conveyor", "temperature", ">", 85, 75, "high"),
)

_BERLIN, _CHICAGO = "Europe/Berlin", "America/Chicago"

TENANTS = (
    DemoTenant(
        slug="acme",
        name="Acme Industries",
        sites=(
            DemoSite("Acme Industries", "enterprise", "", _BERLIN),
            DemoSite("Hamburg plant", "site", "Acme Industries", _BERLIN),
            DemoSite("Utilities", "area", "Hamburg plant", _BERLIN),
            DemoSite("Cooling water", "line", "Utilities", _BERLIN),
            DemoSite("Compressed air", "line", "Utilities", _BERLIN),
            DemoSite("Melt shop", "area", "Hamburg plant", _BERLIN),
            DemoSite("Packaging", "area", "Hamburg plant", _BERLIN),
            DemoSite("Rotterdam terminal", "site", "Acme Industries", "Europe/Amsterdam"),
            DemoSite("Tank farm", "area", "Rotterdam terminal", "Europe/Amsterdam"),
        ),
        devices=(
            DemoDevice("pump-7", "Cooling pump 7 (yours to play with)", "Pump", "Cooling water", is_simulated=False),
            DemoDevice("pump-1", "Cooling pump 1", "Pump", "Cooling water"),
            DemoDevice("pump-2", "Cooling pump 2", "Pump", "Cooling water"),
            DemoDevice("compressor-1", "Compressor 1", "Compressor", "Compressed air"),
            DemoDevice("compressor-2", "Compressor 2", "Compressor", "Compressed air", protocol="modbus"),
            DemoDevice("furnace-1", "Melting furnace 1", "Furnace", "Melt shop"),
            DemoDevice("furnace-2", "Melting furnace 2", "Furnace", "Melt shop", protocol="opcua"),
            DemoDevice("conveyor-1", "Packaging conveyor 1", "Conveyor", "Packaging", protocol="http"),
            DemoDevice("conveyor-2", "Packaging conveyor 2", "Conveyor", "Packaging", protocol="amqp"),
            DemoDevice("tank-1", "Tank 1, solvent", "Tank", "Tank farm"),
            DemoDevice("tank-2", "Tank 2, base oil", "Tank", "Tank farm"),
            DemoDevice("tank-3", "Tank 3, base oil", "Tank", "Tank farm", protocol="coap"),
        ),
    ),
    DemoTenant(
        slug="globex",
        name="Globex Corporation",
        sites=(
            DemoSite("Globex Corporation", "enterprise", "", _CHICAGO),
            DemoSite("Springfield works", "site", "Globex Corporation", _CHICAGO),
            DemoSite("Pump house", "area", "Springfield works", _CHICAGO),
            DemoSite("Bottling", "line", "Springfield works", _CHICAGO),
        ),
        devices=(
            DemoDevice("pump-9", "Feed pump 9 (yours to play with)", "Pump", "Pump house", is_simulated=False),
            DemoDevice("pump-1", "Feed pump 1", "Pump", "Pump house"),
            DemoDevice("tank-1", "Buffer tank", "Tank", "Pump house", protocol="coap"),
            DemoDevice("compressor-1", "Compressor", "Compressor", "Bottling", protocol="amqp"),
            DemoDevice("conveyor-1", "Bottling conveyor", "Conveyor", "Bottling", protocol="opcua"),
            DemoDevice("conveyor-2", "Crate conveyor", "Conveyor", "Bottling", protocol="http"),
            DemoDevice("pump-2", "Feed pump 2", "Pump", "Pump house", protocol="modbus"),
        ),
    ),
)
