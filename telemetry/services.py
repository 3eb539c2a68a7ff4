"""The only way to write readings, latest values and rejected messages."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from threading import get_native_id

from django.conf import settings
from django.db import connection, transaction

from iiot_site.lib.prepared import execute_prepared
from iiot_site.lib.schemas import current_schema, try_lock_in_schema
from telemetry.errors import ReadingOutsideWindowError
from telemetry.models import RejectedMessage
from telemetry.partitions_math import utc_day
from telemetry.reading_tables import store_numbers, store_texts
from telemetry.staging import days_of
from telemetry.types import IngestCount, NewReading, NewRejection, StoreOutcome

MAX_PAYLOAD_BYTES = 4096
TRIM_EVERY_FRACTION = 10


def store_readings(*, readings: Sequence[NewReading], now: datetime) -> StoreOutcome:
    """Store a batch once, however often it arrives, inside the caller's transaction.

    Same device, metric and time as a stored reading, or as an earlier one of the batch: counted as a duplicate and
    left out. Latest values follow the newest source time. Missing partitions are created.

    Raises:
        ReadingOutsideWindowError: a reading lies on a day outside the age policy; nothing is stored.
        PartitionDroppedError: a partition was dropped after this process had seen it; nothing is stored, and the caller's
            transaction is to be begun anew.
    """
    if not readings:
        return StoreOutcome(0, 0)
    numbers = [r for r in readings if r.value is not None]
    texts = [r for r in readings if r.value is None]
    days = days_of(numbers)
    _check_days(days | days_of(texts), now)
    stored: Counter[date] = Counter()
    with transaction.atomic(savepoint=False):
        if numbers:
            stored.update(store_numbers(numbers=numbers, days=days))
        if texts:
            stored.update(store_texts(texts=texts, days=days_of(texts)))
    return StoreOutcome(stored.total(), len(readings) - stored.total(), +stored)


def _check_days(days: set[date], now: datetime) -> None:
    oldest = utc_day(now - timedelta(days=settings.IIOT_MAX_READING_AGE_DAYS))
    newest = utc_day(now + timedelta(seconds=settings.IIOT_MAX_READING_FUTURE_SECONDS))
    outside = sorted(day for day in days if not oldest <= day <= newest)
    if outside:
        raise ReadingOutsideWindowError(f"Readings of {outside[0]} are outside the window from {oldest} to {newest}.")


# --- The ingest ledger

LEDGER_SLOTS = 8
_ADDED_SQL = """CASE WHEN excluded.{column} = '{{{{}}}}' THEN ledger.{column} ELSE (
    SELECT jsonb_object_agg(key, total) FROM (
        SELECT key, sum(value::bigint) AS total FROM (
            SELECT * FROM jsonb_each_text(ledger.{column}) UNION ALL SELECT * FROM jsonb_each_text(excluded.{column})
        ) AS parts GROUP BY key
    ) AS totals
) END"""
ADD_TO_ENTRY_SQL = f"""
ON CONFLICT (minute, listener, slot) DO UPDATE
SET received = ledger.received + excluded.received, stored = ledger.stored + excluded.stored,
    duplicate = ledger.duplicate + excluded.duplicate, rejected = ledger.rejected + excluded.rejected,
    messages = ledger.messages + excluded.messages,
    messages_repeated = ledger.messages_repeated + excluded.messages_repeated,
    messages_rejected = ledger.messages_rejected + excluded.messages_rejected,
    rejected_by_reason = {_ADDED_SQL.format(column="rejected_by_reason")},
    stored_by_day = {_ADDED_SQL.format(column="stored_by_day")}
"""
_RECORD_INGEST_SQL = f"""
INSERT INTO {{schema}}.telemetry_ingestledger AS ledger (minute, listener, slot, received, stored, duplicate, rejected,
    messages, messages_repeated, messages_rejected, rejected_by_reason, stored_by_day)
VALUES (date_trunc('minute', %s::timestamptz, 'UTC'), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
{ADD_TO_ENTRY_SQL}
"""  # noqa: S608 - made of constants


def record_ingest(*, count: IngestCount, now: datetime) -> None:
    """Add a batch to the ledger. Call it last in the transaction that stores the batch: the row stays locked until its end.

    Nothing checks here that the count adds up: a mistake in counting must not cost readings. `check_ledger` tells.
    """
    if not count.messages:
        return
    by_day = {day.isoformat(): n for day, n in count.stored_by_day.items()}
    figures = [
        count.received,
        count.stored,
        count.duplicate,
        sum(count.rejected_by_reason.values()),
        count.messages,
        count.messages_repeated,
        count.messages_rejected,
    ]
    slot = get_native_id() % LEDGER_SLOTS
    details = [json.dumps(dict(count.rejected_by_reason)), json.dumps(by_day)]
    # All as text: a number's size would make its type, and each type a plan of its own.
    execute_prepared(_RECORD_INGEST_SQL, [now.isoformat(), count.listener[:20], *map(str, [slot, *figures]), *details])


# --- Rejected messages

_recorded_since_trim: dict[str, int] = {}


def record_rejections(*, rejections: Sequence[NewRejection]) -> None:
    """Keep messages that could not be stored, each cut to 4 KiB, for people to look into."""
    if not rejections:
        return
    RejectedMessage.objects.bulk_create(_rejected_message(r) for r in rejections)
    schema = current_schema()
    count = _recorded_since_trim.get(schema, 0) + len(rejections)
    is_flood = count > settings.IIOT_REJECTED_MESSAGES_KEPT_COUNT // TRIM_EVERY_FRACTION
    _recorded_since_trim[schema] = 0 if is_flood else count
    if is_flood:
        trim_rejections()


def _rejected_message(rejection: NewRejection) -> RejectedMessage:
    return RejectedMessage(
        received_at=rejection.received_at,
        protocol=rejection.protocol,
        source=rejection.source.replace("\0", "")[:300],
        device_id=rejection.device_id,
        reason=rejection.reason[:40],
        detail=rejection.detail.replace("\0", "")[:500],
        payload=rejection.payload[:MAX_PAYLOAD_BYTES],
        payload_bytes=len(rejection.payload),
    )


# The newest of each device and reason first, then the second newest of each, and so on, until the count is reached.
_TRIM_SQL = """
DELETE FROM telemetry_rejectedmessage WHERE id IN (
    SELECT id FROM (
        SELECT id, received_at, row_number() OVER (PARTITION BY device_id, reason ORDER BY received_at DESC, id DESC) AS place
        FROM telemetry_rejectedmessage
    ) AS placed ORDER BY place, received_at DESC, id DESC OFFSET %s
)
"""


@transaction.atomic
def trim_rejections() -> int:
    """Delete what is too much of the current tenant's rejected messages; return how many went.

    Each device and reason keeps as many of its newest as the others leave room for: a flood pushes out its own alone.
    """
    if not try_lock_in_schema("rejected messages"):
        return 0  # another process is at it
    kept = settings.IIOT_REJECTED_MESSAGES_KEPT_COUNT
    if RejectedMessage.objects.count() <= kept:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_TRIM_SQL, [kept])
        return int(cursor.rowcount)
