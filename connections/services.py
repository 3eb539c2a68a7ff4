"""The only way to change connections. Listeners hear of each change when its transaction commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection as database
from django.db import transaction

from connections.errors import TooManyConnectionsError
from connections.models import ModbusConnection, ModbusRegister
from connections.selectors import find_obstacle
from connections.types import ConnectionReport
from iiot_site.lib.schemas import current_schema, lock_in_schema

CHANGES_CHANNEL = "iiot_connections"
MAX_CONNECTIONS = 1_000
MAX_REGISTERS_PER_TYPE = 500
CONNECTIONS_LOCK = "connections"
# What people may change; the rest is how the connection does, which the listener writes.
CONNECTION_FIELDS = ("device", "host", "port", "unit_id", "poll_interval", "timeout", "is_enabled")

_RECORD_STATES_SQL = """
UPDATE connections_modbusconnection AS c
SET state_at = CASE WHEN c.state = r.state AND c.state_at IS NOT NULL THEN c.state_at ELSE %s END,
    state = r.state, last_error = r.error, last_answer_at = r.answered_at
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[]) AS r(id, state, error, answered_at)
WHERE c.id = r.id
"""


@transaction.atomic
def save_modbus_connection(*, modbus_connection: ModbusConnection) -> ModbusConnection:
    """Create a connection, or write its `CONNECTION_FIELDS`.

    Raises:
        ValidationError: a field is wrong, or the device has a connection.
        TooManyConnectionsError: the tenant has as many as it may.
    """
    is_new = modbus_connection._state.adding  # noqa: SLF001  # Django's documented way to ask
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if ModbusConnection.objects.count() >= MAX_CONNECTIONS:
            raise TooManyConnectionsError(f"A tenant may have {MAX_CONNECTIONS} Modbus connections. Delete one first.")
    modbus_connection.full_clean()
    if is_new:  # afterwards the listener says how it goes
        modbus_connection.last_error = find_obstacle(modbus_connection)
    modbus_connection.save(update_fields=None if is_new else CONNECTION_FIELDS)
    notify_connections_changed()
    return modbus_connection


@transaction.atomic
def delete_modbus_connection(*, modbus_connection: ModbusConnection) -> None:
    """Stop polling a device; its readings stay."""
    modbus_connection.delete()
    notify_connections_changed()


@transaction.atomic
def save_modbus_register(*, register: ModbusRegister) -> ModbusRegister:
    """Create or change an entry of a register map.

    Raises:
        ValidationError: a field is wrong, or the type has an entry for that metric.
        TooManyConnectionsError: the map has as many entries as it may.
    """
    is_new = register._state.adding  # noqa: SLF001  # Django's documented way to ask
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if ModbusRegister.objects.filter(device_type=register.device_type).count() >= MAX_REGISTERS_PER_TYPE:
            raise TooManyConnectionsError(f"A register map may have {MAX_REGISTERS_PER_TYPE} entries. Delete one first.")
    register.full_clean()
    register.save()
    notify_connections_changed()
    return register


@transaction.atomic
def delete_modbus_register(*, register: ModbusRegister) -> None:
    """Take an entry out of a register map."""
    register.delete()
    notify_connections_changed()


def notify_connections_changed() -> None:
    """Tell listeners that connections of the current tenant changed; PostgreSQL delivers it when the transaction commits."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANGES_CHANNEL, current_schema()])


def record_modbus_states(*, reports: Sequence[ConnectionReport], now: datetime) -> None:
    """Write how connections of the current tenant do, in one statement; listeners hear nothing of it."""
    if not reports:
        return
    columns: list[list[Any]] = [
        [report.connection_id for report in reports],
        [report.state for report in reports],
        [report.error[:300] for report in reports],
        [report.answered_at for report in reports],
    ]
    with database.cursor() as cursor:
        cursor.execute(_RECORD_STATES_SQL, [now, *columns])
