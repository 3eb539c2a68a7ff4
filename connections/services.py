"""The only way to change connections. Listeners hear of each change when its transaction commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection as database
from django.db import models, transaction
from django.db.models import Case, F, Value, When

from connections.errors import TooManyConnectionsError
from connections.models import ModbusConnection, ModbusRegister
from connections.types import ConnectionReport
from iiot_site.lib.schemas import current_schema, lock_in_schema

CHANGES_CHANNEL = "iiot_connections"
MAX_CONNECTIONS = 1_000
MAX_REGISTERS_PER_TYPE = 500
CONNECTIONS_LOCK = "connections"
# What people may change; the rest is how the connection does, which the listener writes.
CONNECTION_FIELDS = ("device", "host", "port", "unit_id", "poll_interval", "timeout", "is_enabled")


@transaction.atomic
def save_modbus_connection(*, modbus_connection: ModbusConnection) -> ModbusConnection:
    """Create a connection, or write its `CONNECTION_FIELDS`.

    Raises:
        ValidationError: a field is wrong, or the device has a connection.
        TooManyConnectionsError: the tenant has as many as it may.
    """
    is_new = modbus_connection._state.adding  # noqa: SLF001  # Django's documented way to ask
    modbus_connection.full_clean()
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if ModbusConnection.objects.count() >= MAX_CONNECTIONS:
            raise TooManyConnectionsError(f"A tenant may have {MAX_CONNECTIONS} Modbus connections. Delete one first.")
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
    register.full_clean()
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if ModbusRegister.objects.filter(device_type=register.device_type).count() >= MAX_REGISTERS_PER_TYPE:
            raise TooManyConnectionsError(f"A register map may have {MAX_REGISTERS_PER_TYPE} entries. Delete one first.")
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
    rows = ModbusConnection.objects.filter(id__in=[report.connection_id for report in reports])
    rows.update(
        state_at=Case(
            *(When(id=r.connection_id, state=r.state, then=F("state_at")) for r in reports),
            default=Value(now),
            output_field=models.DateTimeField(),
        ),
        state=_by_id({r.connection_id: r.state for r in reports}, models.CharField()),
        last_error=_by_id({r.connection_id: r.error[:300] for r in reports}, models.CharField()),
        last_answer_at=_by_id({r.connection_id: r.answered_at for r in reports}, models.DateTimeField()),
    )


def _by_id(values: Mapping[int, object], field: "models.Field[Any, Any]") -> Case:
    return Case(*(When(id=id_, then=Value(value, output_field=field)) for id_, value in values.items()), output_field=field)
