"""Statements that every batch of every tenant repeats: prepared once for each schema, so that they are planned once.

A statement names its tables with `{schema}`, which makes its text, and so its plan, the schema's own. PostgreSQL keeps a
plan for one search path, so the path is set as for any other statement. psycopg keeps the `IIOT_PREPARED_STATEMENTS`
used last on each connection; 0 prepares none, for a PgBouncer that does not know prepared statements. That each is planned
but once (`plan_cache_mode`) is an option of the connection, in the settings: a SET would go with a transaction that fails.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from iiot_site.lib.schemas import current_schema

USES_BEFORE = 1  # with more schemas in turn than are kept, none gets so far: nothing is prepared in vain


class BinaryValue(bytes):
    """A parameter in PostgreSQL's own binary form; the statement says with a cast of which type."""


class _BinaryValueDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: bytes) -> bytes:
        return bytes(obj)


_prepared_on: WeakSet[psycopg.Connection[Any]] = WeakSet()


def execute_prepared(statement: str, params: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Run a statement in the current tenant's schema and return its rows; none where it returns none.

    Raises:
        django.db.Error: as any statement would.
    """
    with connection.cursor():  # connects, and sets the search path
        connection.validate_no_broken_transaction()
    raw = connection.connection
    _set_up(raw)
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute(statement.format(schema=f'"{current_schema()}"'), params, binary=True)
        return cursor.fetchall() if cursor.description else []


def _set_up(raw: psycopg.Connection[Any]) -> None:
    if raw in _prepared_on:
        return
    raw.adapters.register_dumper(BinaryValue, _BinaryValueDumper)
    raw.prepare_threshold = USES_BEFORE if settings.IIOT_PREPARED_STATEMENTS else None
    raw.prepared_max = settings.IIOT_PREPARED_STATEMENTS
    _prepared_on.add(raw)
