"""The numbers of metrics: two bytes in every stored reading, where four would make each of them 8 bytes (15 %) longer.

So a tenant has room for 32,767 metrics at a time. The database counts them up, and loses a number with every transaction
that fails; when it has reached the last one, numbers that no metric has are given out again. Not at once: who stores readings
may know a deleted metric for some seconds. And not while a reading of the former metric is there, stored in just those.
"""

from django.apps import apps
from django.db import connection, models

from iiot_site.lib.schemas import lock_in_schema

LAST_NUMBER = 32_767
# From there on those who create metrics do it one after the other; before, nobody needs to know of the others.
CAREFUL_FROM = LAST_NUMBER - 5_000
NUMBERS_LOCK = "metric numbers"
_NEXT_SQL = "SELECT last_value + is_called::integer FROM devices_metric_id_seq"
REST_SECONDS = 60.0
_FREE_SQL = """
SELECT n FROM generate_series(1, %s) AS n WHERE NOT EXISTS (SELECT FROM devices_metric WHERE id = n)
AND NOT EXISTS (SELECT FROM devices_freednumber WHERE number = n AND freed_at > clock_timestamp() - make_interval(secs => %s))
{unused} ORDER BY n LIMIT %s
"""
_UNUSED_SQL = "AND NOT EXISTS (SELECT FROM {table} WHERE {column} = n)"
_NOTE_FREED_SQL = """
INSERT INTO devices_freednumber (number, freed_at) VALUES (%s, clock_timestamp())
ON CONFLICT (number) DO UPDATE SET freed_at = excluded.freed_at
"""
_FORGET_FREED_SQL = "DELETE FROM devices_freednumber WHERE freed_at < clock_timestamp() - make_interval(secs => %s)"
_COUNT_SQL = "SELECT %s - count(*) FROM devices_metric"


def claim_numbers(count: int) -> list[int | None]:
    """Return numbers for new metrics, None for the one that the database gives; fewer where there are no more.

    Inside the transaction that creates them.
    """
    if _next_number() + count <= CAREFUL_FROM:
        return [None] * count
    lock_in_schema(NUMBERS_LOCK)
    if _next_number() + count - 1 <= LAST_NUMBER:
        return [None] * count
    with connection.cursor() as cursor:
        cursor.execute(_FREE_SQL.format(unused=" ".join(_unused())), [LAST_NUMBER, REST_SECONDS, count])
        return [number for (number,) in cursor.fetchall()]


def note_freed(number: int) -> None:
    """Let the number of a metric rest that is deleted in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_FREED_SQL, [REST_SECONDS])
        cursor.execute(_NOTE_FREED_SQL, [number])


def _unused() -> list[str]:
    """Return conditions for tables that protect their metrics but, for speed, have no constraint that the database would check."""
    found = apps.get_model("devices", "Metric")._meta.get_fields(include_hidden=True)  # noqa: SLF001  # Django's documented way to ask
    relations = [field for field in found if isinstance(field, models.ManyToOneRel) and field.on_delete is models.PROTECT]
    return [
        _UNUSED_SQL.format(table=relation.related_model._meta.db_table, column=relation.field.column)  # noqa: SLF001  # the same
        for relation in relations
        if not getattr(relation.field, "db_constraint", True)
    ]


def count_free_numbers() -> int:
    """Return how many more metrics the current tenant has room for."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_SQL, [LAST_NUMBER])
        return int(cursor.fetchone()[0])


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_SQL)
        return int(cursor.fetchone()[0])
