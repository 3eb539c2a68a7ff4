"""Several processes store at once: real transactions on connections of their own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django_tenants.utils import tenant_context

from telemetry.errors import PartitionDroppedError
from telemetry.models import LatestReading, Reading
from telemetry.partitions import ensure_partitions, forget_partitions
from telemetry.partitions_math import partition_name, utc_day
from telemetry.services import store_readings
from telemetry.types import NewReading, StoreOutcome
from tenants.models import Tenant
from tests.telemetry.builders import NOW, new_reading

T = TypeVar("T")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    forget_partitions()
    tenant: Tenant = Tenant.objects.get(slug="acme")
    return tenant


def in_threads(works: list[Callable[[], T]]) -> list[T]:
    """Run all at once, each with a connection of its own."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait()
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def store(tenant: Tenant, batch: list[NewReading]) -> StoreOutcome:
    with tenant_context(tenant), transaction.atomic():
        return store_readings(readings=batch, now=NOW)


@pytest.mark.usefixtures("either_way")
def test_the_same_batch_on_four_connections_is_stored_once(tenant: Tenant) -> None:
    batch = [new_reading(n, float(n), device_id=1 + n % 7) for n in range(500)]
    outcomes = in_threads([lambda: store(tenant, batch)] * 4)
    assert sum(o.stored for o in outcomes) == 500
    assert sum(o.duplicates for o in outcomes) == 1500
    with tenant_context(tenant):
        assert Reading.objects.count() == 500


@pytest.mark.usefixtures("either_way")
def test_overlapping_batches_in_opposite_order_do_not_deadlock(tenant: Tenant) -> None:
    whole = [new_reading(n, float(n), device_id=1 + n % 5) for n in range(600)]
    for _ in range(5):
        in_threads([lambda: store(tenant, whole[:400]), lambda: store(tenant, list(reversed(whole[200:])))])
    with tenant_context(tenant):
        assert Reading.objects.count() == 600
        assert LatestReading.objects.get(device_id=5).ts == NOW + timedelta(seconds=599)


def test_two_that_need_the_same_new_day_create_it_once(tenant: Tenant) -> None:
    for day in range(3, 9):
        ts = NOW - timedelta(days=day)
        outcomes = in_threads(
            [lambda ts=ts: store(tenant, [new_reading(ts=ts)]), lambda ts=ts: store(tenant, [new_reading(ts=ts, device_id=2)])]  # type: ignore[misc]
        )
        assert outcomes == [StoreOutcome(1, 0)] * 2


def test_creating_a_partition_waits_for_no_one_who_is_writing(tenant: Tenant) -> None:
    with tenant_context(tenant), transaction.atomic():
        store_readings(readings=[new_reading()], now=NOW)
    with tenant_context(tenant), transaction.atomic():
        store_readings(readings=[new_reading(1)], now=NOW)

        def create_elsewhere() -> list[object]:
            with tenant_context(tenant), transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '60s'")
                return list(ensure_partitions(days=[utc_day(NOW - timedelta(days=9))]))

        assert len(in_threads([create_elsewhere])[0]) == 1


def test_a_partition_that_was_rolled_back_is_not_remembered(tenant: Tenant) -> None:
    day = utc_day(NOW)
    with tenant_context(tenant):
        with transaction.atomic():
            assert ensure_partitions(days=[day]) == [day]
            transaction.set_rollback(True)
        assert ensure_partitions(days=[day]) == [day]


@pytest.mark.usefixtures("either_way")
def test_a_partition_dropped_behind_our_back_comes_again(tenant: Tenant) -> None:
    with tenant_context(tenant):
        store(tenant, [new_reading(0)])
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {partition_name(utc_day(NOW))}")
        with pytest.raises(PartitionDroppedError):
            store(tenant, [new_reading(0)])
        assert store(tenant, [new_reading(0)]) == StoreOutcome(1, 0)
        assert Reading.objects.count() == 1


def test_known_partitions_cost_no_query(tenant: Tenant, django_assert_num_queries: Callable[..., object]) -> None:
    with tenant_context(tenant):
        ensure_partitions(days=[utc_day(NOW)])
        with django_assert_num_queries(0):  # type: ignore[attr-defined]
            ensure_partitions(days=[utc_day(NOW)])
