from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django_tenants.utils import tenant_context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.errors import ReadingOutsideWindowError
from telemetry.models import LatestReading, Reading, RejectedMessage, TextReading
from telemetry.partitions import ensure_partitions
from telemetry.partitions_math import partition_name, utc_day
from telemetry.services import record_rejections, store_readings, trim_rejections
from telemetry.types import NewRejection, StoreOutcome
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading


def rejection(n: int = 0, payload: bytes = b"{}", device_id: int | None = None) -> NewRejection:
    return NewRejection(NOW + timedelta(seconds=n), "mqtt", "t/acme/pump-7/telemetry", device_id, "not_json", "Send JSON.", payload)


def latest() -> dict[tuple[int, int], float | str | None]:
    return {(row.device_id, row.metric_id): row.text if row.value is None else row.value for row in LatestReading.objects.all()}


@pytest.mark.usefixtures("either_way")
def test_a_batch_is_stored_once_however_often_it_comes(in_acme: Tenant) -> None:
    batch = [new_reading(n, float(n), metric_id=1 + n % 3) for n in range(50)] + [new_reading(n, f"on {n}", metric_id=9) for n in range(5)]
    assert store_readings(readings=batch, now=NOW) == StoreOutcome(55, 0)
    assert store_readings(readings=batch, now=NOW) == StoreOutcome(0, 55)
    assert (Reading.objects.count(), TextReading.objects.count()) == (50, 5)


@pytest.mark.usefixtures("either_way")
def test_the_first_of_two_with_one_time_counts_also_inside_a_batch(in_acme: Tenant) -> None:
    twice = [new_reading(0, 1.0), new_reading(0, 2.0), new_reading(0, "a", metric_id=2), new_reading(0, "b", metric_id=2)]
    assert store_readings(readings=twice, now=NOW) == StoreOutcome(2, 2)
    assert store_readings(readings=[new_reading(0, 3.0)], now=NOW) == StoreOutcome(0, 1)
    assert Reading.objects.get().value == 1.0
    assert TextReading.objects.get().value == "a"
    assert latest() == {(1, 1): 1.0, (1, 2): "a"}


@pytest.mark.usefixtures("either_way")
def test_the_latest_value_follows_the_source_time_not_the_arrival(in_acme: Tenant) -> None:
    store_readings(readings=[new_reading(10, 10.0), new_reading(10, "new", metric_id=2)], now=NOW)
    store_readings(readings=[new_reading(5, 5.0), new_reading(5, "old", metric_id=2)], now=NOW)
    assert latest() == {(1, 1): 10.0, (1, 2): "new"}
    store_readings(readings=[new_reading(12, 12.0), new_reading(11, 11.0)], now=NOW)
    row = LatestReading.objects.get(metric_id=1)
    assert (row.value, row.ts, row.received_at) == (12.0, NOW + timedelta(seconds=12), NOW)


@pytest.mark.usefixtures("either_way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(1, 2), st.integers(0, 4), st.floats(-9, 9)), max_size=8),
        max_size=5,
    )
)
def test_any_order_of_arrival_counts_exactly_and_leaves_the_newest(in_acme: Tenant, batches: list[list[tuple[int, int, float]]]) -> None:
    expected: dict[tuple[int, int], float] = {}
    with transaction.atomic():
        for batch in batches:
            before = len(expected)
            for device, second, value in batch:
                expected.setdefault((device, second), value)
            outcome = store_readings(readings=[new_reading(s, v, device_id=d) for d, s, v in batch], now=NOW)
            assert outcome == StoreOutcome(len(expected) - before, len(batch) - (len(expected) - before))
        newest = {device: max(s for d, s in expected if d == device) for device, _ in expected}
        assert latest() == {(device, 1): expected[device, second] for device, second in newest.items()}
        transaction.set_rollback(True)


@pytest.mark.usefixtures("either_way")
def test_late_data_gets_its_partition_on_demand(in_acme: Tenant) -> None:
    late = new_reading(0, ts=NOW - timedelta(days=20))
    assert store_readings(readings=[late, new_reading(0)], now=NOW) == StoreOutcome(2, 0)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {partition_name(utc_day(late.ts))}")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("ts", [NOW - timedelta(days=32), NOW + timedelta(days=2)])
def test_a_day_outside_the_policy_stores_nothing_of_the_batch(in_acme: Tenant, ts: object) -> None:
    with pytest.raises(ReadingOutsideWindowError):
        store_readings(readings=[new_reading(0), new_reading(0, ts=ts)], now=NOW)
    with pytest.raises(ReadingOutsideWindowError):
        store_readings(readings=[new_reading(0, "text", ts=ts)], now=NOW)
    assert not Reading.objects.exists()


def test_an_empty_batch_is_nothing(in_acme: Tenant, django_assert_num_queries: object) -> None:
    assert store_readings(readings=[], now=NOW) == StoreOutcome(0, 0)
    record_rejections(rejections=[])


@pytest.mark.usefixtures("either_way")
def test_one_tenants_readings_are_not_in_another(in_acme: Tenant, globex: Tenant) -> None:
    store_readings(readings=[new_reading(0)], now=NOW)
    with tenant_context(globex):
        assert not Reading.objects.exists()
        assert store_readings(readings=[new_reading(0)], now=NOW) == StoreOutcome(1, 0)


def test_ensure_partitions_tells_what_it_created(in_acme: Tenant) -> None:
    days = [utc_day(NOW), utc_day(NOW + timedelta(days=1))]
    assert ensure_partitions(days=days) == days
    assert ensure_partitions(days=days) == []


def test_a_rejection_keeps_the_first_4_kib_and_the_true_size(in_acme: Tenant, make_device: MakeDevice) -> None:
    device = make_device()
    record_rejections(rejections=[rejection(payload=b"x" * 5000, device_id=device.id)])
    message = RejectedMessage.objects.get()
    assert (len(message.payload), message.payload_bytes, message.device) == (4096, 5000, device)


def test_a_rejection_with_hostile_text_is_kept_too(in_acme: Tenant) -> None:
    record_rejections(rejections=[NewRejection(NOW, "mqtt", "t/\0" + "x" * 400, None, "r" * 50, "d\0" * 600, b"\0\xff")])
    message = RejectedMessage.objects.get()
    assert (len(message.source), len(message.reason), len(message.detail)) == (300, 40, 500)


@override_settings(IIOT_REJECTED_MESSAGES_KEPT_COUNT=10)
def test_only_the_newest_rejections_are_kept_even_in_a_flood(in_acme: Tenant) -> None:
    record_rejections(rejections=[rejection(n) for n in range(30)])
    assert sorted(m.received_at for m in RejectedMessage.objects.all()) == [NOW + timedelta(seconds=n) for n in range(20, 30)]
    assert trim_rejections() == 0


@override_settings(IIOT_REJECTED_MESSAGES_KEPT_COUNT=10)
def test_a_flood_of_rejections_pushes_out_no_other_devices_and_no_other_reasons(in_acme: Tenant, make_device: MakeDevice) -> None:
    flooding, quiet = make_device("pump-1"), make_device("pump-2")
    record_rejections(rejections=[rejection(n, device_id=quiet.id) for n in range(3)])
    record_rejections(rejections=[replace(rejection(5, device_id=flooding.id), reason="too_old")])
    record_rejections(rejections=[rejection(n, device_id=flooding.id) for n in range(10, 40)])
    kept = Counter((message.device, message.reason) for message in RejectedMessage.objects.select_related("device"))
    reason = rejection(0).reason
    assert kept == {(quiet, reason): 3, (flooding, "too_old"): 1, (flooding, reason): 6}
