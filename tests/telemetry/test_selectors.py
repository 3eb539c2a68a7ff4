from datetime import timedelta

import pytest

from devices.models import Device, Metric
from telemetry.errors import InvalidCursorError
from telemetry.selectors import list_latest, list_metrics, load_history
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


def test_newest_first_is_the_same_history_backwards(device: Device) -> None:
    store(device, "temperature", {0: 2.0, 1: 3.0})
    store(device, "mode", {0: "auto", 1: "hand", 2: "auto"})
    points, cursor = [], None
    for _ in range(5):
        page = load_history(
            device=device, metrics=list_metrics(device), end=NOW + timedelta(seconds=2), limit=1, cursor=cursor, newest_first=True
        )
        points += [(point.metric, point.value) for point in page.points]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert cursor is None
    assert points == [("mode", "hand"), ("temperature", 3.0), ("mode", "auto"), ("temperature", 2.0)]


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
