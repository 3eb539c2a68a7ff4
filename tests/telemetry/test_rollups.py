"""Queries over roll-ups say exactly what the readings say, at any moment."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django_tenants.utils import tenant_context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Device
from telemetry.bucket_history import load_buckets
from telemetry.bucket_sources import build_parts
from telemetry.buckets import Buckets, FixedBuckets, list_edges
from telemetry.models import ChangedMinute, HourRollup, MinuteRollup, RollupProgress
from telemetry.rollups import roll_up
from telemetry.selectors import list_metrics
from telemetry.services import store_readings
from telemetry.types import BucketQuery
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.usefixtures("only_own_transactions")  # roll-ups wait for all others

Values = Mapping[float, tuple[float, int]]
FIGURES = frozenset({"first", "last"})
HOUR = timedelta(hours=1)


@pytest.fixture
def device(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device(metrics=("speed", "temperature"))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def store(device: Device, values: Values, metric: str = "speed") -> None:
    metric_id = device.device_type.metrics.get(key=metric).id
    readings = [new_reading(s, v, quality=q, device_id=device.id, metric_id=metric_id) for s, (v, q) in values.items()]
    store_readings(readings=readings, now=at(86_400))


def load(device: Device, buckets: Buckets, start: float, end: float) -> list[tuple[Any, ...]]:
    query = BucketQuery(start=at(start), end=at(end), buckets=buckets, aggregates=FIGURES)
    found = load_buckets(device=device, metrics=list_metrics(device, ["speed"]), query=query, now=NOW).buckets
    return [(b.ts, b.count, b.total, b.minimum, b.maximum, b.first, b.last, b.quality) for b in found]


def expect(stored: Values, buckets: Buckets, start: float, end: float) -> list[tuple[Any, ...]]:
    grouped: dict[datetime, list[tuple[float, int]]] = {}
    for second in sorted(stored):
        if start <= second < end:
            grouped.setdefault(buckets.floor(at(second)), []).append(stored[second])
    rows = []
    for ts, points in grouped.items():
        values = [value for value, _ in points]
        rows.append((ts, len(values), sum(values), min(values), max(values), values[0], values[-1], max(quality for _, quality in points)))
    return rows


def sources(device: Device, start: float, end: float, width: timedelta) -> str:
    edges = list_edges(FixedBuckets(width), start=at(start), end=at(end))
    metrics = [metric.id for metric in list_metrics(device, ["speed"])]
    return build_parts(device_id=device.id, metric_ids=metrics, start=at(start), end=at(end), edges=edges)[0]


# Eight hours around midnight, which is 12 hours on. Sums of eighths are exact in whatever order they are added up.
seconds = st.integers(8 * 7200, 16 * 7200).map(lambda n: n / 2)
batches = st.dictionaries(seconds, st.tuples(st.integers(-8000, 8000).map(lambda n: n / 8), st.integers(0, 2)), min_size=1, max_size=30)
actions = st.lists(st.one_of(batches, st.integers(8, 17).map(lambda hours: at(hours * 3600 + 77))), min_size=1, max_size=8)
widths = st.sampled_from([30, 60, 120, 300, 900, 3600, 7200, 86_400]).map(lambda n: FixedBuckets(timedelta(seconds=n)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(actions=actions, buckets=widths, bounds=st.tuples(seconds, seconds))
def test_roll_ups_and_readings_agree_whatever_comes_late_or_twice(
    device: Device, actions: list[Any], buckets: Buckets, bounds: tuple[float, float]
) -> None:
    """Late, twice, across midnight, and rolled up at any time in between."""
    with connection.cursor() as cursor:
        for table in ("reading", "latestreading", "minuterollup", "hourrollup", "changedminute", "rollupprogress"):
            cursor.execute(f"DELETE FROM telemetry_{table}")
    start, end = sorted(bounds)
    stored: dict[float, tuple[float, int]] = {}
    for action in actions:
        if isinstance(action, datetime):
            roll_up(now=action)
        else:
            store(device, action)
            store(device, {second: (value + 1, quality) for second, (value, quality) in action.items()})  # duplicates change nothing
            stored = {**action, **stored}
        assert load(device, buckets, start, end) == expect(stored, buckets, start, end)


def test_roll_ups_are_used_where_they_are(device: Device) -> None:
    store(device, {n: (float(n % 7), 0) for n in range(0, 7200, 10)})
    roll_up(now=at(7000))
    progress = RollupProgress.objects.get()
    assert (progress.folded_until, progress.closed_until) == (at(6960), at(6960))
    assert (MinuteRollup.objects.count(), HourRollup.objects.count()) == (116, 1)
    assert "telemetry_hourrollup" in sources(device, 0, 7200, HOUR)
    assert "telemetry_minuterollup" in sources(device, 0, 7200, timedelta(minutes=2))
    assert "rollup" not in sources(device, 0, 7200, timedelta(seconds=30))
    HourRollup.objects.update(n=F("n") + 1)
    assert [row[1] for row in load(device, FixedBuckets(HOUR), 0, 7200)] == [361, 360]


def test_a_roll_up_holds_all_that_longer_ones_need(device: Device) -> None:
    store(device, {0: (3.0, 0), 1: (-4.0, 2), 59.5: (0.5, 1)})
    roll_up(now=at(120))
    rollup = MinuteRollup.objects.get()
    assert (rollup.bucket, rollup.n, rollup.total, rollup.squares, rollup.low, rollup.high, rollup.quality) == (
        NOW,
        3,
        -0.5,
        25.25,
        -4.0,
        3.0,
        2,
    )
    assert (rollup.low_at, rollup.high_at) == (at(1), NOW)
    assert (rollup.first_at, rollup.first_value, rollup.last_at, rollup.last_value) == (NOW, 3.0, at(59.5), 0.5)


@pytest.mark.usefixtures("either_way")
def test_late_readings_are_seen_at_once_and_rolled_up_with_the_next_run(device: Device) -> None:
    store(device, {0: (1.0, 0), 3700: (1.0, 0)})
    roll_up(now=at(7300))
    assert ChangedMinute.objects.count() == 0
    store(device, {30: (9.0, 2), 90: (5.0, 0)})
    assert ChangedMinute.objects.count() == 2
    wanted = [(NOW, 3, 15.0, 1.0, 9.0, 1.0, 5.0, 2)]
    assert load(device, FixedBuckets(HOUR), 0, 3600) == wanted
    roll_up(now=at(7300))
    assert ChangedMinute.objects.count() == 0
    assert load(device, FixedBuckets(HOUR), 0, 3600) == wanted
    assert list(HourRollup.objects.order_by("bucket").values_list("n", "total")) == [(3, 15.0), (1, 1.0)]


def test_with_very_many_changes_readings_are_read_throughout(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.bucket_sources.MAX_CHANGED", 3)
    store(device, {7200: (0.0, 0)})
    roll_up(now=at(7300))
    store(device, {n * 60: (1.0, 0) for n in range(4)})
    assert "rollup" not in sources(device, 0, 7200, HOUR)
    assert [row[1] for row in load(device, FixedBuckets(HOUR), 0, 3600)] == [4]


def test_a_run_out_of_time_is_continued_by_the_next(device: Device) -> None:
    store(device, dict.fromkeys(range(0, 3600, 60), (1.0, 0)))
    ticks = iter(range(10_000))
    for _ in range(1000):
        roll_up(now=at(4000), budget_seconds=3, clock=lambda: float(next(ticks)))
        assert [row[1] for row in load(device, FixedBuckets(HOUR), 0, 3600)] == [60]
        if MinuteRollup.objects.count() == 60:
            break
    assert HourRollup.objects.get().n == 60


def test_values_that_no_sum_can_hold_are_rolled_up(device: Device) -> None:
    store(device, {0: (1.7e308, 0), 1: (1.7e308, 0), 60: (1e200, 0)})
    roll_up(now=at(7300))
    assert [row[1:5] for row in load(device, FixedBuckets(HOUR), 0, 3600)] == [(3, None, 1e200, 1.7e308)]


def test_a_barrier_from_another_server_is_set_anew(device: Device) -> None:
    store(device, {0: (1.0, 0)})
    roll_up(now=at(120))
    RollupProgress.objects.update(closed_until=at(600), barrier=2**60)
    for _ in range(2):
        roll_up(now=at(660))
    assert RollupProgress.objects.get().folded_until == at(600)


@pytest.mark.usefixtures("either_way")
@pytest.mark.django_db(transaction=True)
def test_nothing_is_folded_while_a_transaction_may_still_bring_readings(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device(metrics=("speed",))
        store(device, {0: (1.0, 0)})
        roll_up(now=at(45))
    stored, go_on = threading.Event(), threading.Event()

    def store_slowly() -> None:
        try:
            with tenant_context(acme), transaction.atomic():
                store(device, {70: (2.0, 0)})
                stored.set()
                go_on.wait(WAIT_SECONDS)
        finally:
            connection.close()

    thread = threading.Thread(target=store_slowly)
    thread.start()
    assert stored.wait(WAIT_SECONDS)
    with tenant_context(acme):
        roll_up(now=at(600))
        before = RollupProgress.objects.get()
        go_on.set()
        thread.join(WAIT_SECONDS)
        assert (before.folded_until, before.closed_until) == (NOW, at(540))
        assert ChangedMinute.objects.count() == 0
        assert [row[1] for row in load(device, FixedBuckets(HOUR), 0, 3600)] == [2]
        roll_up(now=at(600))
        assert RollupProgress.objects.get().folded_until == at(540)
        assert list(MinuteRollup.objects.order_by("bucket").values_list("total", flat=True)) == [1.0, 2.0]
