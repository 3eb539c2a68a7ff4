"""Daily partitions of the readings: made ahead by a task, and on demand for late data."""

from collections.abc import Collection
from datetime import date

from django.db import connection, transaction

from iiot_site.lib.schemas import current_schema, lock_in_schema
from telemetry.partitions_math import PARENT, missing_days, partition_bounds, partition_day, partition_name

# Days whose partition is known to be there, by (database, schema): the hot path asks nothing. Only committed ones.
_known: dict[tuple[str, str], set[date]] = {}

_EXISTING_SQL = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"
# CREATE … PARTITION OF would lock the parent against every insert; attaching an empty table does not.
_CREATE_SQL = "CREATE TABLE IF NOT EXISTS {table} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
_ATTACH_SQL = "ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ('{start}') TO ('{end}')"


def ensure_partitions(*, days: Collection[date]) -> list[date]:
    """Create the partitions of these UTC days that the current tenant lacks, and return which.

    Safe when several processes want the same day: one creates, the others wait for its commit.
    """
    place = (str(connection.settings_dict["NAME"]), current_schema())
    wanted = set(days) - _known.get(place, set())
    if not wanted:
        return []
    with transaction.atomic():
        created = []
        if missing_days(wanted, _load_partition_names()):
            lock_in_schema("telemetry partitions")
            created = missing_days(wanted, _load_partition_names())
            for day in created:
                _create_partition(day)
        transaction.on_commit(lambda: _known.setdefault(place, set()).update(wanted))
    return created


def list_partition_days() -> set[date]:
    """Return the UTC days that have a partition in the current tenant."""
    return {day for name in _load_partition_names() if (day := partition_day(name)) is not None}


def forget_partitions() -> None:
    """Look again next time: someone dropped a partition that was known."""
    _known.clear()


def _load_partition_names() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(_EXISTING_SQL, [PARENT])
        return {row[0] for row in cursor.fetchall()}


def _create_partition(day: date) -> None:
    start, end = partition_bounds(day)
    names = {"table": partition_name(day), "parent": PARENT}  # made of digits and constants: nothing to quote
    with connection.cursor() as cursor:
        cursor.execute(_CREATE_SQL.format(**names))
        cursor.execute(_ATTACH_SQL.format(**names, start=start.isoformat(), end=end.isoformat()))
