"""Merges old minutes of the ingest ledger into hours: the same sums in some hundredth of the rows.

An hour is an entry with a slot of its own, at its first minute. Minutes go and their hour grows in one statement: whatever
ends it, each count is there once.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from iiot_site.lib.prepared import execute_prepared
from iiot_site.lib.schemas import try_lock_in_schema
from telemetry.ledger import HOUR_SLOT
from telemetry.services import ADD_TO_ENTRY_SQL

AT_ONCE = timedelta(hours=6)
TURNS_AT_MOST = 400  # a hundred days; the rest an hour later

_OLDEST_SQL = "SELECT date_trunc('hour', min(minute), 'UTC') FROM telemetry_ingestledger WHERE slot <> %s AND minute < %s"
# Both details are objects of counts; each is summed by its keys.
_DETAIL_SQL = """coalesce((
    SELECT jsonb_object_agg(key, total) FROM (
        SELECT key, sum(value::bigint) AS total FROM gone, jsonb_each_text({column})
        WHERE gone.listener = hours.listener AND date_trunc('hour', gone.minute, 'UTC') = hours.hour GROUP BY key
    ) AS totals
), '{{{{}}}}')"""
_MERGE_SQL = f"""
WITH gone AS (
    DELETE FROM {{schema}}.telemetry_ingestledger
    WHERE minute >= %(start)s::timestamptz AND minute < %(end)s::timestamptz AND slot <> %(slot)s::smallint RETURNING *
), hours AS (
    SELECT date_trunc('hour', minute, 'UTC') AS hour, listener, sum(received) AS received, sum(stored) AS stored,
        sum(duplicate) AS duplicate, sum(rejected) AS rejected, sum(messages) AS messages,
        sum(messages_repeated) AS messages_repeated, sum(messages_rejected) AS messages_rejected
    FROM gone GROUP BY 1, 2
)
INSERT INTO {{schema}}.telemetry_ingestledger AS ledger (minute, listener, slot, received, stored, duplicate, rejected,
    messages, messages_repeated, messages_rejected, rejected_by_reason, stored_by_day)
SELECT hour, listener, %(slot)s::smallint, received, stored, duplicate, rejected, messages, messages_repeated, messages_rejected,
    {_DETAIL_SQL.format(column="rejected_by_reason")}, {_DETAIL_SQL.format(column="stored_by_day")}
FROM hours ORDER BY hour, listener
{ADD_TO_ENTRY_SQL}
"""  # noqa: S608 - made of constants


def minutes_kept_since(now: datetime) -> datetime:
    """Return the full hour before which minutes are merged."""
    return (now - timedelta(days=settings.IIOT_LEDGER_MINUTES_KEPT_DAYS)).replace(minute=0, second=0, microsecond=0)


def thin_ledger(*, now: datetime) -> int:
    """Merge minutes of the current tenant that are older than `IIOT_LEDGER_MINUTES_KEPT_DAYS`; return how many spans were merged."""
    end = minutes_kept_since(now)
    turns = 0
    while turns < TURNS_AT_MOST and _merge_some(end):
        turns += 1
    return turns


@transaction.atomic
def _merge_some(end: datetime) -> bool:
    """Merge the oldest minutes; False where there are none, or another process is at it."""
    if not try_lock_in_schema("ledger minutes"):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_SQL, [HOUR_SLOT, end])
        start: datetime | None = cursor.fetchone()[0]
    if start is None:
        return False
    facts = {"start": start.isoformat(), "end": min(start + AT_ONCE, end).isoformat(), "slot": str(HOUR_SLOT)}
    execute_prepared(_MERGE_SQL, facts)
    return True
