"""What listeners read of a tenant's connections."""

from collections import defaultdict

from connections.models import ModbusConnection, ModbusRegister
from connections.types import ModbusTarget, RegisterSpec
from devices.models import Device


def load_modbus_targets() -> list[ModbusTarget]:
    """Return what is to be polled in the current tenant, and what cannot be for want of something: all enabled connections."""
    enabled = ModbusConnection.objects.filter(is_enabled=True)
    connections = list(enabled.select_related("device__device_type").order_by("id"))
    maps: dict[int, list[RegisterSpec]] = defaultdict(list)
    type_ids = {connection.device.device_type_id for connection in connections}
    for register in ModbusRegister.objects.filter(device_type_id__in=type_ids).order_by("table", "address", "id"):
        maps[register.device_type_id].append(_make_spec(register))
    return [
        ModbusTarget(
            connection_id=connection.id,
            device=connection.device.key,
            host=connection.host,
            port=connection.port,
            unit_id=connection.unit_id,
            interval_seconds=connection.poll_interval.total_seconds(),
            timeout_seconds=connection.timeout.total_seconds(),
            registers=tuple(maps.get(connection.device.device_type_id, ())),
            obstacle=_find_obstacle(connection.device, has_map=connection.device.device_type_id in maps),
        )
        for connection in connections
    ]


def find_obstacle(connection: ModbusConnection) -> str:
    """Say in words what a connection lacks for being polled, "" for nothing."""
    has_map = ModbusRegister.objects.filter(device_type_id=connection.device.device_type_id).exists()
    return _find_obstacle(connection.device, has_map=has_map)


def _find_obstacle(device: Device, *, has_map: bool) -> str:
    if not device.is_enabled:
        return "The device is switched off in the platform."
    if not has_map:
        return (
            f"The device type {device.device_type.name} has no register map. Write one under Administration → Modbus register maps, "
            "or with POST /api/v1/protocols/modbus-registers."
        )
    return ""


def _make_spec(register: ModbusRegister) -> RegisterSpec:
    return RegisterSpec(
        metric=register.metric,
        table=register.table,
        address=register.address,
        width=register.width,
        data_type=register.data_type,
        is_little_word_order=register.word_order == ModbusRegister.WordOrder.LITTLE,
        swaps_bytes=register.byte_swap,
        scale=register.scale,
        offset=register.offset,
        bit=register.bit,
    )
