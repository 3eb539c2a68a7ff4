"""The numbers of metrics: two bytes in every stored reading, where four would make each of them 8 bytes (15 %) longer.

So a tenant has room for 32,767 metrics at a time. The database counts them up, and loses a number with every transaction
that fails; when it has reached the last one, numbers that no metric has are given out again.
"""

from django.db import connection

from iiot_site.lib.schemas import lock_in_schema

LAST_NUMBER = 32_767
# From there on those who create metrics do it one after the other; before, nobody needs to know of the others.
CAREFUL_FROM = LAST_NUMBER - 5_000
NUMBERS_LOCK = "metric numbers"
_NEXT_SQL = "SELECT last_value + is_called::integer FROM devices_metric_id_seq"
_FREE_SQL = """
SELECT n FROM generate_series(1, %s) AS n WHERE NOT EXISTS (SELECT FROM devices_metric WHERE id = n) ORDER BY n LIMIT %s
"""
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
        cursor.execute(_FREE_SQL, [LAST_NUMBER, count])
        return [number for (number,) in cursor.fetchall()]


def count_free_numbers() -> int:
    """Return how many more metrics the current tenant has room for."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_SQL, [LAST_NUMBER])
        return int(cursor.fetchone()[0])


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_SQL)
        return int(cursor.fetchone()[0])
