"""What listeners read of a tenant's connections."""

from collections import defaultdict

from connections.models import ModbusConnection, ModbusRegister
from connections.types import ModbusTarget, RegisterSpec


def load_modbus_targets() -> list[ModbusTarget]:
    """Return what is to be polled in the current tenant: enabled connections of enabled devices whose type has a register map."""
    connections = list(ModbusConnection.objects.filter(is_enabled=True, device__is_enabled=True).select_related("device").order_by("id"))
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
            registers=tuple(maps[connection.device.device_type_id]),
        )
        for connection in connections
        if connection.device.device_type_id in maps
    ]


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
