from datetime import datetime, timedelta

import pytest

from devices.models import Device, Metric
from telemetry.curves import load_curve
from telemetry.models import Reading
from telemetry.rollups import roll_up
from telemetry.services import store_readings
from telemetry.types import NumberPoint
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading

pytestmark = pytest.mark.usefixtures("only_own_transactions")  # roll-ups wait for all others


@pytest.fixture
def metric(in_acme: Tenant, make_device: MakeDevice) -> Metric:
    make_device(metrics=("speed",))
    return Metric.objects.get()


def store(metric: Metric, values: dict[float, float]) -> None:
    device = Device.objects.get()
    store_readings(
        readings=[new_reading(s, v, device_id=device.id, metric_id=metric.id) for s, v in values.items()], now=NOW + timedelta(days=1)
    )


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def curve(metric: Metric, *, end: float, count: int) -> list[list[NumberPoint]]:
    return load_curve(device=Device.objects.get(), metric=metric, start=NOW, end=at(end), count=count)


def test_few_points_come_as_they_are(metric: Metric) -> None:
    store(metric, {n: float(n) for n in range(8)})
    (stretch,) = curve(metric, end=7, count=10)
    assert stretch == [NumberPoint(at(n), float(n), 0) for n in range(7)]


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_many_points_are_thinned_out_to_stored_ones(metric: Metric, is_rolled_up: bool) -> None:
    values = {n / 2: float((n * 7919) % 1000) for n in range(14_400)}
    store(metric, values | {4321.0: 5000.0, 100.5: -5000.0})
    if is_rolled_up:
        roll_up(now=at(7000))
    (stretch,) = curve(metric, end=7200, count=100)
    assert len(stretch) == 100
    stored = dict(Reading.objects.values_list("ts", "value"))
    assert all(stored[point.ts] == point.value for point in stretch)
    assert {(point.ts, point.value) for point in stretch} >= {(at(4321.0), 5000.0), (at(100.5), -5000.0)}
    assert [point.ts for point in stretch] == sorted(point.ts for point in stretch)
    assert (stretch[0].ts, stretch[-1].ts) == (NOW, at(7199.5))


def test_gaps_stay_however_few_points_are_wanted(metric: Metric) -> None:
    store(metric, {n: 1.0 for n in range(7200) if not 2000 < n < 4000})
    first, second = curve(metric, end=7200, count=20)
    assert (first[-1].ts, second[0].ts) == (at(2000), at(4000))
    assert len(first) + len(second) == 20


def test_a_text_has_no_curve_and_neither_has_nothing(metric: Metric) -> None:
    assert curve(metric, end=100, count=10) == []
    assert curve(metric, end=0, count=10) == []
    metric.data_type = "text"
    assert curve(metric, end=100, count=10) == []
