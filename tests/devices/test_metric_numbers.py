"""Metrics have small numbers: given out again when the last one is reached, and refused in time where there are no more."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from devices import metric_numbers
from devices.errors import StillInUseError
from devices.models import DeviceType, FreedNumber, Metric
from devices.services import delete_metric, register_metrics, save_device_type, save_metric
from devices.types import NewMetric
from telemetry.models import LatestReading
from tenants.models import Tenant
from tests.conftest import MakeDevice

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def pump(in_acme: Tenant) -> Iterator[DeviceType]:
    """A type with the metrics 1, 2 and 3."""
    pump = save_device_type(device_type=DeviceType(name="Pump"))
    for number, key in enumerate(("a", "b", "c"), 1):
        Metric.objects.create(id=number, device_type=pump, key=key)
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value, is_called FROM devices_metric_id_seq")
        before = cursor.fetchone()
        yield pump
        cursor.execute("SELECT setval('devices_metric_id_seq', %s, %s)", before)  # no transaction takes it back


def register(device_type: DeviceType, *keys: str) -> list[tuple[str, int]]:
    wanted = [NewMetric(device_type.pk, key, "number") for key in keys]
    return [(metric.key, metric.id) for metric in register_metrics(metrics=wanted, now=NOW).values()]


def count_up_to(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('devices_metric_id_seq', %s)", [number])


def test_after_the_last_number_those_that_nobody_has_are_given_out(pump: DeviceType) -> None:
    count_up_to(32_766)
    Metric.objects.filter(key="b").delete()
    assert register(pump, "d") == [("d", 32_767)]
    assert register(pump, "e", "f") == [("e", 2), ("f", 4)]
    assert save_metric(metric=Metric(device_type=pump, key="g")).id == 5


def test_a_number_that_was_freed_just_now_rests_for_a_minute(pump: DeviceType) -> None:
    count_up_to(32_767)
    delete_metric(metric=Metric.objects.get(key="b"))
    assert register(pump, "d") == [("d", 4)], "2 may still be stored under by who has not heard that b is gone"
    FreedNumber.objects.update(freed_at=timezone.now() - timedelta(seconds=metric_numbers.REST_SECONDS + 1))
    assert register(pump, "e") == [("e", 2)]
    delete_metric(metric=Metric.objects.get(key="a"))
    assert list(FreedNumber.objects.values_list("number", flat=True)) == [1]


def test_a_number_under_which_something_was_stored_meanwhile_is_not_given_out(pump: DeviceType, make_device: MakeDevice) -> None:
    device = make_device("pump-7", metrics=())
    count_up_to(32_767)
    Metric.objects.filter(key="b").delete()
    LatestReading.objects.create(device=device, metric_id=2, ts=NOW, received_at=NOW, value=1)
    assert register(pump, "d") == [("d", 4)]


def test_a_metric_that_stays_keeps_its_number_awake(pump: DeviceType, make_device: MakeDevice) -> None:
    device = make_device("pump-7", metrics=())
    LatestReading.objects.create(device=device, metric_id=2, ts=NOW, received_at=NOW, value=1)
    with pytest.raises(StillInUseError):
        delete_metric(metric=Metric.objects.get(key="b"))
    assert not FreedNumber.objects.exists()


def test_what_has_no_number_is_left_out_and_the_rest_registered(pump: DeviceType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_numbers, "LAST_NUMBER", 4)
    monkeypatch.setattr(metric_numbers, "CAREFUL_FROM", 0)
    count_up_to(4)
    assert metric_numbers.count_free_numbers() == 1
    assert register(pump, "d", "e") == [("d", 4)]
    with pytest.raises(ValidationError, match="as many as there may be"):
        save_metric(metric=Metric(device_type=pump, key="e"))
