from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from devices.models import Device, DeviceType, Metric
from telemetry import bucket_history
from telemetry.bucket_history import AGGREGATES, load_buckets, read_figure
from telemetry.buckets import Buckets, CalendarBuckets, FixedBuckets
from telemetry.selectors import list_metrics
from telemetry.services import store_readings
from telemetry.types import BucketQuery, HistoryBucket
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading

MINUTE = FixedBuckets(timedelta(minutes=1))
ALL = frozenset(AGGREGATES)


@pytest.fixture
def device(in_acme: Tenant, make_device: MakeDevice) -> Device:
    device = make_device(metrics=("speed",))
    Metric.objects.create(device_type=device.device_type, key="mode", data_type="text")
    return device


def store(device: Device, values: dict[float, float], *, metric: str = "speed", **fields: Any) -> None:
    metric_id = device.device_type.metrics.get(key=metric).id
    readings = [new_reading(s, v, device_id=device.id, metric_id=metric_id, **fields) for s, v in values.items()]
    store_readings(readings=readings, now=NOW)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def load(
    device: Device, buckets: Buckets = MINUTE, *, start: float = 0, end: float = 600, now: float = 600, **wanted: Any
) -> list[HistoryBucket]:
    query = BucketQuery(start=at(start), end=at(end), buckets=buckets, aggregates=ALL, **wanted)
    return load_buckets(device=device, metrics=list_metrics(device), query=query, now=at(now)).buckets


def figures(buckets: Collection[HistoryBucket], name: str) -> dict[float, float | None]:
    return {(bucket.ts - NOW).total_seconds(): read_figure(bucket, name) for bucket in buckets}


def test_figures_are_exact_and_the_quality_is_the_worst(device: Device) -> None:
    store(device, {0: 1.0, 20: 5.0, 59: 3.0, 120: 4.0})
    store(device, {30: 3.0}, quality=2)
    first, between, second = load(device, now=120)
    assert {name: read_figure(first, name) for name in AGGREGATES} == {
        "avg": 3.0,
        "min": 1.0,
        "max": 5.0,
        "count": 4,
        "sum": 12.0,
        "first": 1.0,
        "last": 3.0,
        "time_weighted": pytest.approx((1 * 20 + 5 * 10 + 3 * 30) / 60),
        "increase": 4.0 + 3.0,
    }
    assert (first.metric, first.ts, first.quality) == ("speed", NOW, 2)
    assert (second.ts, second.count, second.average, second.quality, second.increase) == (at(120), 1, 4.0, 0, 1.0)
    assert (between.count, between.average, between.time_weighted, between.quality) == (0, None, 3.0, 0)


def test_what_was_not_asked_for_is_not_there(device: Device) -> None:
    store(device, {0: 1.0})
    query = BucketQuery(start=NOW, end=at(60), buckets=MINUTE)
    (bucket,) = load_buckets(device=device, metrics=list_metrics(device), query=query, now=at(60)).buckets
    assert (bucket.first, bucket.last, bucket.time_weighted, bucket.increase) == (None, None, None, None)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("with_gaps", [False, True])
def test_pages_join_without_gap_or_overlap(device: Device, newest_first: bool, with_gaps: bool) -> None:
    store(device, {n * 7: float(n % 13) for n in range(100) if not 30 < n < 50})
    wanted: dict[str, Any] = {"newest_first": newest_first, "with_gaps": with_gaps, "buckets": FixedBuckets(timedelta(seconds=10))}
    whole = load(device, start=3, end=653, **wanted)
    rest: tuple[datetime, datetime] | None = (at(3), at(653))
    joined: list[HistoryBucket] = []
    pages = 0
    while rest:
        query = BucketQuery(start=rest[0], end=rest[1], aggregates=ALL, limit=7, **wanted)
        page = load_buckets(device=device, metrics=list_metrics(device), query=query, now=at(600))
        joined, rest, pages = joined + page.buckets, page.rest, pages + 1
    assert joined == whole
    assert pages == 10
    assert sum(bucket.count for bucket in whole) == sum(1 for n in range(100) if 3 <= n * 7 < 653 and not 30 < n < 50)
    assert [bucket.ts for bucket in whole] == sorted((bucket.ts for bucket in whole), reverse=newest_first)
    if with_gaps:
        assert len(whole) == 66


def test_empty_buckets_are_there_when_asked_for(device: Device) -> None:
    store(device, {0: 1.0, 430: 2.0})
    buckets = load(device, start=300, end=540, with_gaps=True, now=0)
    assert figures(buckets, "avg") == {300: None, 360: None, 420: 2.0, 480: None}
    assert figures(buckets, "count") == {300: 0, 360: 0, 420: 1, 480: 0}
    assert [bucket.quality for bucket in buckets] == [None, None, 0, None]


def test_days_are_those_of_the_zone(device: Device) -> None:
    store_midnight = datetime(2026, 11, 20, 23, tzinfo=UTC)  # midnight in Berlin
    hours = {(store_midnight + timedelta(hours=n) - NOW).total_seconds(): float(n) for n in (-20, -1, 0, 1)}
    metric = device.device_type.metrics.get(key="speed").id
    store_readings(
        readings=[new_reading(s, v, device_id=device.id, metric_id=metric) for s, v in hours.items()],
        now=store_midnight + timedelta(hours=1),
    )
    for zone, sums in (("Europe/Berlin", [-21.0, 1.0]), ("UTC", [-21.0 + 0.0, 1.0]), ("Asia/Tokyo", [-20.0, 0.0])):
        buckets = load(device, CalendarBuckets("day", ZoneInfo(zone)), start=-100_000, end=100_000)
        assert [bucket.total for bucket in buckets] == sums
        assert {bucket.ts.astimezone(ZoneInfo(zone)).hour for bucket in buckets} == {0}
        (month,) = load(device, CalendarBuckets("month", ZoneInfo(zone)), start=-100_000, end=100_000)
        assert month.count == 4


def test_a_value_holds_until_the_next_one_over_the_edges_of_buckets(device: Device) -> None:
    store(device, {-30: 2.0, 90: 6.0})
    buckets = load(device, end=180, now=150)
    assert figures(buckets, "time_weighted") == {0: 2.0, 60: pytest.approx((2 * 30 + 6 * 30) / 60), 120: 6.0}
    assert figures(buckets, "count") == {0: 0, 60: 1, 120: 0}
    assert {bucket.quality for bucket in buckets} == {0}


def test_time_without_values_does_not_count(device: Device) -> None:
    device.device_type.metrics.filter(key="speed").update(expected_period=timedelta(seconds=10))
    store(device, {0: 1.0, 30: 5.0, 61: 9.0, 65: 3.0})
    weighted = figures(load(device, now=600), "time_weighted")
    assert weighted == {0: 1.0, 60: 9.0}  # from 30 to 61 is a gap, and so is 65 until now
    assert figures(load(device, end=120, now=95), "time_weighted") == {0: 1.0, 60: pytest.approx((9 * 4 + 3 * 30) / 34)}


def test_without_an_expected_period_the_types_time_out_tells_a_gap(device: Device) -> None:
    store(device, {0: 1.0, 300: 5.0, 601: 9.0})
    weighted = figures(load(device, end=900, now=601), "time_weighted")
    assert {second for second, figure in weighted.items() if figure is not None} == {0, 60, 120, 180, 240}


def test_a_counter_goes_up_over_resets_and_over_edges(device: Device) -> None:
    store(device, {-100: 90.0, 10: 100.0, 50: 130.0, 70: 5.0, 80: 5.0, 110: 25.0, 150: 3.0})
    buckets = load(device, end=180)
    assert figures(buckets, "increase") == {0: 40.0, 60: 25.0, 120: 3.0}
    (whole,) = load(device, FixedBuckets(timedelta(minutes=3)), end=180)
    assert whole.increase == 68.0


def test_the_first_value_of_a_counter_adds_nothing(device: Device) -> None:
    store(device, {10: 1000.0})
    assert figures(load(device), "increase") == {0: None}


def test_values_that_no_sum_can_hold_are_no_error(device: Device) -> None:
    store(device, {0: 1.7e308, 1: 1.7e308, 2: -1.7e308, 60: 1e200, 61: -1e200, 120: 1e290, 121: 1e290})
    first, second, third = load(device, end=180, now=180)
    assert (first.total, first.average, first.maximum) == (None, None, 1.7e308)
    assert (second.total, second.average) == (0.0, 0.0)
    assert third.total == 2e290


def test_texts_have_no_buckets(device: Device) -> None:
    metric = device.device_type.metrics.get(key="mode")
    store_readings(readings=[new_reading(0, "auto", device_id=device.id, metric_id=metric.id)], now=NOW)
    query = BucketQuery(start=NOW, end=at(60), buckets=MINUTE, aggregates=ALL, with_gaps=True)
    assert load_buckets(device=device, metrics=[metric], query=query, now=NOW).buckets == []


def test_a_reading_that_comes_between_two_figures_of_an_empty_bucket_is_no_fault(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    store(device, {0: 1.0})

    def fetch_and_store(sql: str, facts: dict[str, Any]) -> list[tuple[Any, ...]]:
        rows = fetch(sql, facts)
        store(device, {120: 4.0})
        return rows

    fetch = bucket_history._fetch
    monkeypatch.setattr(bucket_history, "_fetch", fetch_and_store)
    assert figures(load(device), "increase")[120.0] == 3.0


def test_an_empty_bucket_comes_once_for_a_key_that_the_device_has_from_two_types(device: Device) -> None:
    store(device, {0: 1.0})
    device.device_type = DeviceType.objects.create(name="Fan")
    device.save()
    Metric.objects.create(device_type=device.device_type, key="speed")
    store(device, {120: 4.0})
    buckets = load(device, end=240, with_gaps=True)
    assert [(bucket.ts, bucket.count) for bucket in buckets] == [(at(0), 1), (at(60), 0), (at(120), 1), (at(180), 0)]
