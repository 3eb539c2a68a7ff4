"""history: a week of one value a second of one series in buckets, by `load_buckets` from roll-ups, against bare SQL on the readings.

Prints milliseconds and the ratio (above 1: faster than the bare SQL), and what rolling the week up costs. Asserts that
both say the same. Run it with `make bench NAME=history`.
"""

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
django.setup()

from devices.models import Device, DeviceType, Metric  # noqa: E402 - Django must be set up first
from telemetry.bucket_history import load_buckets  # noqa: E402
from telemetry.buckets import FixedBuckets  # noqa: E402
from telemetry.curves import load_curve  # noqa: E402
from telemetry.partitions import ensure_partitions  # noqa: E402
from telemetry.rollups import roll_up  # noqa: E402
from telemetry.types import BucketQuery, HistoryBucket  # noqa: E402
from tests.benchmarks.bench_store import fresh_schema  # noqa: E402

DAYS = 7
ROUNDS = 7
FILL_SQL = """
INSERT INTO telemetry_reading (ts, value, device_id, metric_id, quality)
SELECT ts, (extract(epoch FROM ts)::bigint %% 977) / 8.0, 1, 1, 0 FROM generate_series(%(start)s, %(end)s, interval '1 second') AS ts;
INSERT INTO telemetry_latestreading (device_id, metric_id, ts, received_at, value, quality) VALUES (1, 1, %(end)s, %(end)s, 1, 0)
"""
BARE_SQL = """
SELECT date_bin(%(width)s, ts, '1970-01-01Z') AS bucket, metric_id, avg(value), min(value), max(value), count(*), max(quality)
FROM telemetry_reading WHERE device_id = 1 AND metric_id = 1 AND ts >= %(start)s AND ts < %(end)s
GROUP BY bucket, metric_id ORDER BY bucket, metric_id
"""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median milliseconds of some runs, and what the last one found."""
    times = []
    found = None
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times), found


def compare(device: Device, metric: Metric, *, start: datetime, end: datetime, width: timedelta, label: str) -> None:
    """Print one line: ours against the bare SQL, for the same buckets."""

    def ours() -> list[HistoryBucket]:
        query = BucketQuery(start=start, end=end, buckets=FixedBuckets(width), limit=100_000)
        return load_buckets(device=device, metrics=[metric], query=query, now=end).buckets

    wanted: Any = {"width": width, "start": start, "end": end}

    def bare() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(BARE_SQL, wanted)
            return list(cursor.fetchall())

    figure, buckets = timed(ours)
    reference, rows = timed(bare)
    assert [(b.ts, b.average, b.minimum, b.maximum, b.count) for b in buckets] == [(r[0], *r[2:6]) for r in rows]
    print(f"history {label} buckets={len(rows)} {figure:.1f} ms, bare SQL on readings {reference:.1f} ms, ratio={reference / figure:.1f}")


def main() -> None:
    """Fill a week, roll it up, compare."""
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - timedelta(days=DAYS)
    device = Device(id=1, device_type=DeviceType(id=1))
    metric = Metric(id=1, key="speed")
    with fresh_schema():
        ensure_partitions(days=[(start + timedelta(days=n)).date() for n in range(DAYS + 1)])
        with connection.cursor() as cursor:
            cursor.execute(FILL_SQL, {"start": start, "end": now - timedelta(seconds=1)})
        started = time.perf_counter()
        roll_up(now=now, budget_seconds=600)
        seconds = time.perf_counter() - started
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE telemetry_reading; ANALYZE telemetry_minuterollup; ANALYZE telemetry_hourrollup")
        print(f"history: {DAYS * 86_400} readings rolled up in {seconds:.2f} s")
        for width, label in ((86_400, "1d"), (3600, "1h"), (300, "5m"), (60, "1m"), (30, "30s (no roll-up)")):
            compare(device, metric, start=start, end=now, width=timedelta(seconds=width), label=f"week in {label}")
        figure, stretches = timed(lambda: load_curve(device=device, metric=metric, start=start, end=now, count=1000))
        print(f"history week as a curve points={sum(map(len, stretches))} {figure:.1f} ms")


if __name__ == "__main__":
    main()
