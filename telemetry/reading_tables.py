"""Writes readings and latest values: many by way of a staging table, few in one prepared statement.

A statement with arrays costs less by the batch, COPY less by the row: at 600 rows both took the same time, measured once.
With a hundred tenants in turn a batch is a hundred small ones, and what each costs by itself is what counts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import psycopg.errors
from django.db import IntegrityError, connection
from django.db.backends.utils import CursorWrapper

from iiot_site.lib.prepared import BinaryValue, execute_prepared
from telemetry.errors import PartitionDroppedError
from telemetry.partitions import ensure_partitions, forget_partitions
from telemetry.rollup_plan import MINUTE, bin_sql
from telemetry.staging import STAGE_COLUMNS, encode_columns, encode_numbers
from telemetry.types import NewReading

AT_ONCE_ROWS = 1_000

_STAGE_SQL = """
CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({columns}) ON COMMIT DELETE ROWS;
DELETE FROM pg_temp.{stage}
"""
_NUMBER_STAGE_SQL = _STAGE_SQL.format(stage="number_stage", columns=STAGE_COLUMNS)
_TEXT_STAGE_SQL = _STAGE_SQL.format(stage="text_stage", columns=STAGE_COLUMNS.replace("value double precision", "value text"))
_COPY_SQL = "COPY pg_temp.number_stage FROM STDIN (FORMAT binary)"
_FILL_TEXT_STAGE_SQL = """
INSERT INTO pg_temp.text_stage SELECT * FROM unnest(
    %s::timestamptz[], %s::text[], %s::integer[], %s::smallint[], %s::smallint[], %s::timestamptz[]
)
"""
# Rows go in by key, so that two batches with the same readings wait for each other instead of deadlocking; `place` keeps
# the order of arrival among equal keys: the first one counts.
_INSERT_SQL = """
INSERT INTO {table} (ts, value, device_id, metric_id, quality)
SELECT ts, value, device_id, metric_id, quality FROM {rows} ORDER BY device_id, metric_id, ts, {place}
ON CONFLICT DO NOTHING
"""
_UPSERT_LATEST_SQL = """
INSERT INTO {schema}telemetry_latestreading AS latest (device_id, metric_id, ts, received_at, {column}, quality)
SELECT DISTINCT ON (device_id, metric_id) device_id, metric_id, ts, received_at, value, quality
FROM {rows} ORDER BY device_id, metric_id, ts DESC, {place}
ON CONFLICT (device_id, metric_id) DO UPDATE
SET ts = excluded.ts, received_at = excluded.received_at, value = excluded.value, text = excluded.text, quality = excluded.quality
WHERE latest.ts < excluded.ts
"""
# Only for batches around midnight and late ones: RETURNING costs time.
_COUNT_BY_DAY_SQL = "WITH new AS ({insert} RETURNING ts) SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM new GROUP BY 1"
_INSERT_NUMBERS_SQL = _INSERT_SQL.format(table="telemetry_reading", rows="pg_temp.number_stage", place="ctid")
_INSERT_TEXTS_SQL = _INSERT_SQL.format(table="telemetry_textreading", rows="pg_temp.text_stage", place="ctid")
# What comes after its minute was closed: see `telemetry.rollups`. Only once the transaction has its number, which COPY gives it.
_NOTE_CHANGED_MINUTES_SQL = """
INSERT INTO {schema}telemetry_changedminute (device_id, metric_id, minute)
SELECT DISTINCT device_id, metric_id, {minute} FROM {rows}
WHERE ts < (SELECT closed_until FROM {schema}telemetry_rollupprogress)
"""
_STAGED_NUMBERS = {"schema": "", "column": "value", "rows": "pg_temp.number_stage", "place": "ctid", "minute": bin_sql(MINUTE, "ts")}
_UPSERT_LATEST_NUMBERS_SQL = f"{_UPSERT_LATEST_SQL.format(**_STAGED_NUMBERS)};{_NOTE_CHANGED_MINUTES_SQL.format(**_STAGED_NUMBERS)}"
_UPSERT_LATEST_TEXTS_SQL = _UPSERT_LATEST_SQL.format(schema="", column="text", rows="pg_temp.text_stage", place="ctid")

# All of it in one statement, which has one snapshot: the transaction's number has to come before it.
_TAKE_NUMBER_SQL = "SELECT pg_current_xact_id()"
_AT_ONCE = {**_STAGED_NUMBERS, "schema": "{schema}.", "rows": "arrived", "place": "place"}
_STORE_AT_ONCE_SQL = f"""
WITH arrived AS MATERIALIZED (
    SELECT * FROM unnest(%b::timestamptz[], %b::float8[], %b::integer[], %b::smallint[], %b::smallint[], %b::timestamptz[])
        WITH ORDINALITY AS columns(ts, value, device_id, metric_id, quality, received_at, place)
), new AS ({_INSERT_SQL.format(**_AT_ONCE, table="{schema}.telemetry_reading")} RETURNING ts
), newest AS ({_UPSERT_LATEST_SQL.format(**_AT_ONCE)}
), changed AS ({_NOTE_CHANGED_MINUTES_SQL.format(**_AT_ONCE)}
)
SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM new GROUP BY 1
"""  # noqa: S608 - made of constants


def store_numbers(*, numbers: Sequence[NewReading], days: set[date]) -> dict[date, int]:
    """Store readings that have a value, inside the caller's transaction; return how many were new, by UTC day.

    `days` are those of the readings; they get their partitions.

    Raises:
        PartitionDroppedError: one of them, which this process knew, is gone.
    """
    ensure_partitions(days=days)
    with connection.cursor() as cursor, _known_partitions():
        if len(numbers) <= AT_ONCE_ROWS:
            cursor.execute(_TAKE_NUMBER_SQL)
            return dict(execute_prepared(_STORE_AT_ONCE_SQL, [BinaryValue(column) for column in encode_columns(numbers)]))
        cursor.execute(_NUMBER_STAGE_SQL)
        with cursor.copy(_COPY_SQL) as copy:
            copy.write(encode_numbers(numbers))
        stored = _insert(cursor, _INSERT_NUMBERS_SQL, days)
        cursor.execute(_UPSERT_LATEST_NUMBERS_SQL)
        return stored


def store_texts(*, texts: Sequence[NewReading], days: set[date]) -> dict[date, int]:
    """Store readings that have a text, inside the caller's transaction; return how many were new, by UTC day."""
    rows = [(r.ts, r.text, r.device_id, r.metric_id, r.quality, r.received_at) for r in texts]
    with connection.cursor() as cursor:
        cursor.execute(_TEXT_STAGE_SQL)
        cursor.execute(_FILL_TEXT_STAGE_SQL, [list(column) for column in zip(*rows, strict=True)])
        stored = _insert(cursor, _INSERT_TEXTS_SQL, days)
        cursor.execute(_UPSERT_LATEST_TEXTS_SQL)
        return stored


@contextmanager
def _known_partitions() -> Iterator[None]:
    """Forget the partitions that this process knows where one of them proves to be gone."""
    try:
        yield
    except IntegrityError as exc:
        if not isinstance(exc.__cause__, psycopg.errors.CheckViolation):  # "no partition of relation found for row"
            raise
        forget_partitions()
        raise PartitionDroppedError("A partition of the readings was dropped meanwhile; store them again.") from exc


def _insert(cursor: CursorWrapper, insert: str, days: set[date]) -> dict[date, int]:
    """Move the staged rows into their table; return how many were new, by UTC day."""
    if len(days) == 1:
        cursor.execute(insert)
        return {next(iter(days)): int(cursor.rowcount)}
    cursor.execute(_COUNT_BY_DAY_SQL.format(insert=insert))
    return dict(cursor.fetchall())
