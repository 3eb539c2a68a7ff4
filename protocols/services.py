"""The only way to write what listeners report: about themselves, and messages that no pipeline could take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from protocols.meter import Load
from protocols.models import ListenerState, SparkplugNode
from protocols.numbers import FADED_AFTER, Known, choose_number
from protocols.outages import record_connected
from telemetry.ledger_thinning import minutes_kept_since
from telemetry.services import record_ingest, record_rejections
from telemetry.types import IngestCount, NewRejection

CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a listener says about itself. Counts are since its start."""

    name: str
    host: str
    pid: int
    state: str
    started_at: datetime
    messages: int
    rejected: int
    last_error: str
    clock_offset_seconds: float = 0.0
    load: Load = field(default_factory=Load)
    number: int = 1


@transaction.atomic
def claim_number(*, name: str, host: str, pid: int, started_at: datetime, now: datetime) -> int:
    """Return the number under which this process reports: that of one which ended, or one more; `now` is by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"listener {name}"])
    rows = list(ListenerState.objects.filter(name=name))
    number = choose_number([Known(row.number, row.host, row.pid, row.state, row.heartbeat_at) for row in rows], host=host, pid=pid, now=now)
    before = next((row for row in rows if row.number == number), None)
    reported = {"host": host[:120], "pid": pid, "state": "connecting", "started_at": started_at, "heartbeat_at": now}
    restarts = before.restarts + 1 if before else 0
    ListenerState.objects.update_or_create(name=name, number=number, defaults={**reported, "restarts": restarts})
    return number


@transaction.atomic
def record_heartbeat(*, heartbeat: Heartbeat, now: datetime) -> None:
    """Replace what is known about the listener of this name and number; `now` is by the database's clock.

    Another process of the number counts as a restart. Other numbers that have been silent for long are forgotten.
    """
    load = heartbeat.load
    reported: dict[str, Any] = {
        "host": heartbeat.host[:120],
        "pid": heartbeat.pid,
        "state": heartbeat.state,
        "started_at": heartbeat.started_at,
        "heartbeat_at": now,
        "messages": heartbeat.messages,
        "rejected": heartbeat.rejected,
        "last_error": heartbeat.last_error[:500],
        "clock_offset_seconds": heartbeat.clock_offset_seconds,
        "bytes": load.bytes,
        "messages_per_second": load.messages_per_second,
        "bytes_per_second": load.bytes_per_second,
        "latency_p50_ms": load.latency_p50_ms,
        "latency_p99_ms": load.latency_p99_ms,
        "buffer_length": load.buffer_length,
        "buffer_fill": load.buffer_fill,
        "connections": load.connections,
        "errors": [{"at": at.isoformat(), "text": text[:500]} for at, text in load.errors],
        "cache_hits": load.cache_hits,
        "cache_misses": load.cache_misses,
    }
    rows = list(ListenerState.objects.select_for_update().filter(name=heartbeat.name).order_by("number"))
    before = next((row for row in rows if row.number == heartbeat.number), None)
    if before is not None and before.started_at != heartbeat.started_at:
        reported["restarts"] = before.restarts + 1
    if heartbeat.state == CONNECTED:
        since = max((row.connected_at for row in rows if row.connected_at is not None), default=None)
        record_connected(listener=heartbeat.name, since=since, now=now)
        reported["connected_at"] = now
        faded = [row.pk for row in rows if row.number != heartbeat.number and row.heartbeat_at < now - FADED_AFTER]
        if faded:
            ListenerState.objects.filter(pk__in=faded).delete()
    ListenerState.objects.update_or_create(name=heartbeat.name, number=heartbeat.number, defaults=reported)


_COUNT_UNROUTED_SQL = """
INSERT INTO protocols_unroutedcount AS known (minute, listener, messages) VALUES (date_trunc('minute', %s, 'UTC'), %s, %s)
ON CONFLICT (minute, listener) DO UPDATE SET messages = known.messages + excluded.messages
"""

_THIN_UNROUTED_SQL = """
WITH gone AS (
    DELETE FROM protocols_unroutedcount WHERE minute < %s AND minute <> date_trunc('hour', minute, 'UTC') RETURNING *
)
INSERT INTO protocols_unroutedcount AS known (minute, listener, messages)
SELECT date_trunc('hour', minute, 'UTC'), listener, sum(messages) FROM gone GROUP BY 1, 2
ON CONFLICT (minute, listener) DO UPDATE SET messages = known.messages + excluded.messages
"""


def save_aliases(*, group: str, node: str, aliases: Mapping[int, str]) -> None:
    """Replace what an edge node has named."""
    names = {str(alias): name for alias, name in aliases.items()}
    SparkplugNode.objects.update_or_create(group=group[:200], node=node[:200], defaults={"aliases": names})


def count_unrouted(*, listener: str, messages: int, now: datetime) -> None:
    """Count messages that name no active tenant; they belong into no tenant's ledger."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_UNROUTED_SQL, [now, listener[:20], messages])


def thin_unrouted(*, now: datetime) -> None:
    """Merge what was counted by minute into hours, as `telemetry.ledger_thinning` does it with the tenants' ledgers."""
    with connection.cursor() as cursor:
        cursor.execute(_THIN_UNROUTED_SQL, [minutes_kept_since(now)])


def record_refused_messages(*, rejections: Sequence[NewRejection], now: datetime, reasons: Sequence[str] | None = None) -> None:
    """Keep messages of the current tenant, all of one listener, that were refused as a whole, and enter them in its ledger.

    `reasons` has one for each message, where a rejection stands for several.
    """
    if not rejections:
        return  # before a transaction begins: nearly every request comes by here
    by_reason = Counter(reasons if reasons is not None else (rejection.reason for rejection in rejections))
    count = by_reason.total()
    with transaction.atomic():
        record_rejections(rejections=rejections)
        record_ingest(count=IngestCount(rejections[0].protocol, count, 0, 0, by_reason, count, 0, count), now=now)
