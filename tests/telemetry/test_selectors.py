from datetime import datetime, timedelta

import pytest

from devices.models import Device, Metric
from telemetry.errors import InvalidCursorError
from telemetry.selectors import list_latest, list_metrics, load_buckets, load_history
from telemetry.services import store_readings
from telemetry.types import NewReading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading


@pytest.fixture
def device(in_acme: Tenant, make_device: MakeDevice) -> Device:
    device = make_device(metrics=("temperature", "speed"))
    Metric.objects.create(device_type=device.device_type, key="mode", data_type="text")
    return device


def store(device: Device, metric_key: str, values: dict[float, float | str], **fields: object) -> None:
    metric = device.device_type.metrics.get(key=metric_key)
    readings: list[NewReading] = [new_reading(s, v, device_id=device.id, metric_id=metric.id, **fields) for s, v in values.items()]
    store_readings(readings=readings, now=NOW)


def read_all(device: Device, limit: int) -> list[tuple[str, float, float | str]]:
    points, cursor = [], None
    while True:
        page = load_history(device=device, metrics=list_metrics(device), limit=limit, cursor=cursor)
        assert len(page.points) <= limit
        points += [(p.metric, (p.ts - NOW).total_seconds(), p.value) for p in page.points]
        cursor = page.next_cursor
        if cursor is None:
            return points


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_join_to_the_whole_history_of_numbers_and_texts_oldest_first(device: Device, limit: int) -> None:
    store(device, "temperature", {-200_000: 1.0, 0: 2.0, 1: 3.0})
    store(device, "speed", {0: 7.0, 1: 8.0})
    store(device, "mode", {0: "auto", 2: "hand"})
    points = read_all(device, limit)
    assert [second for _, second, _ in points] == [-200_000, 0, 0, 0, 1, 1, 2]
    assert sorted(points) == sorted(
        [
            ("temperature", -200_000.0, 1.0),
            ("temperature", 0.0, 2.0),
            ("temperature", 1.0, 3.0),
            ("speed", 0.0, 7.0),
            ("speed", 1.0, 8.0),
            ("mode", 0.0, "auto"),
            ("mode", 2.0, "hand"),
        ]
    )


def test_the_start_is_inside_and_the_end_is_not(device: Device) -> None:
    store(device, "speed", {n: float(n) for n in range(5)})
    page = load_history(
        device=device, metrics=list_metrics(device), start=NOW + timedelta(seconds=1), end=NOW + timedelta(seconds=3), limit=10
    )
    assert [p.value for p in page.points] == [1.0, 2.0]
    assert page.next_cursor is None


@pytest.mark.parametrize("cursor", ["x", "é", "MQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS4x", "YS5i"])
def test_a_made_up_cursor_is_refused(device: Device, cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        load_history(device=device, metrics=list_metrics(device), cursor=cursor)


def test_buckets_sum_up_exactly_and_show_the_worst_quality(device: Device) -> None:
    store(device, "speed", {0: 1.0, 20: 5.0, 59: 3.0, 120: 4.0})
    store(device, "speed", {30: 3.0}, quality=2)
    page = load_buckets(device=device, metrics=list_metrics(device), start=NOW, end=NOW + timedelta(minutes=10), width=timedelta(minutes=1))
    figures = [((b.ts - NOW).total_seconds(), b.average, b.minimum, b.maximum, b.count, b.quality) for b in page.buckets]
    assert figures == [(0.0, 3.0, 1.0, 5.0, 4, 2), (120.0, 4.0, 4.0, 4.0, 1, 0)]
    assert page.next_start is None


def test_pages_of_buckets_join_without_gap_or_overlap(device: Device) -> None:
    store(device, "speed", {n * 7: 1.0 for n in range(100)})
    end, counts, pages = NOW + timedelta(seconds=650), [], 0
    start: datetime | None = NOW + timedelta(seconds=3)
    while start is not None:
        page = load_buckets(device=device, metrics=list_metrics(device), start=start, end=end, width=timedelta(seconds=10), limit=7)
        counts += [(b.ts, b.count) for b in page.buckets]
        start, pages = page.next_start, pages + 1
    assert pages == 10
    assert sum(count for _, count in counts) == sum(1 for n in range(100) if 3 <= n * 7 < 650)
    assert len({ts for ts, _ in counts}) == len(counts)


def test_latest_values_come_with_their_metric_in_one_query(device: Device, django_assert_num_queries: object) -> None:
    store(device, "speed", {0: 1.0, 5: 2.0})
    store(device, "mode", {1: ""})
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert [(v.metric, v.value) for v in list_latest(device)] == [("mode", ""), ("speed", 2.0)]


def test_history_of_a_former_type_stays_in_sight(device: Device, make_device: MakeDevice) -> None:
    store(device, "speed", {0: 1.0})
    device.device_type = make_device(key="other", type_name="Other", metrics=("pressure",)).device_type
    device.save()
    assert {metric.key for metric in list_metrics(device)} == {"pressure", "speed"}
    assert [metric.key for metric in list_metrics(device, ["speed"])] == ["speed"]
