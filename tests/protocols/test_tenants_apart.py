"""A batch of several tenants: stored together; one that fails harms no other, and the connection is in nobody's schema afterwards."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from django.db import DataError, OperationalError, connection
from django_tenants.utils import tenant_context
from msgspec.structs import replace

from iiot_site.lib.schemas import current_schema
from protocols import pipeline, storing
from protocols.handoff import Committed
from protocols.holding import Holding
from protocols.types import RawMessage
from telemetry.ledger import load_ledger
from telemetry.models import Reading
from telemetry.partitions_math import partition_name, utc_day
from telemetry.services import store_readings
from telemetry.types import NewReading, StoreOutcome
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.conftest import MakeMessage


@pytest.fixture
def batch(acme: Tenant, globex: Tenant, make_device: MakeDevice, make_message: MakeMessage) -> list[RawMessage]:
    """A message of acme, two of globex, another of acme; both have a device of the same name and number."""
    for tenant in (acme, globex):
        with tenant_context(tenant):
            make_device("pump-7")
    tenants = ("acme", "globex", "globex", "acme")
    return [make_message(f'{{"temperature": {n}}}', tenant=tenant, packet_id=n + 1) for n, tenant in enumerate(tenants)]


def fail_in_globex(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def store(*, readings: Sequence[NewReading], now: datetime) -> StoreOutcome:
        outcome = store_readings(readings=readings, now=now)
        if current_schema() == "t_globex":
            raise error
        return outcome

    monkeypatch.setattr(storing, "store_readings", store)


def values_of(tenant: Tenant) -> list[float]:
    with tenant_context(tenant):
        return sorted(Reading.objects.values_list("value", flat=True))


def is_in_public() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return current_schema() == "public" and cursor.fetchone()[0] == "public"


def test_a_tenant_whose_data_cannot_be_stored_harms_no_other(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_globex(monkeypatch, DataError("numeric field overflow"))
    outcome = pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None)
    assert (outcome.stored, outcome.refused) == (2, frozenset({1, 2}))
    assert (values_of(acme), values_of(globex)) == ([0, 3], [])
    assert is_in_public()


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_failed_for_one_tenant_stores_everything_once_when_it_comes_again(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in_globex(patch, OperationalError("canceling statement due to lock timeout"))
        with pytest.raises(OperationalError):
            pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None)
        assert is_in_public()
        assert values_of(globex) == []
    again = [replace(m, delivery=replace(m.delivery, is_retry=True)) for m in batch if m.delivery is not None]
    pipeline.process_messages(messages=again, now=now, hand_on=lambda _: None)
    assert (values_of(acme), values_of(globex)) == ([0, 3], [1, 2])
    assert is_in_public()


# --- Together, as listeners do


@pytest.fixture
def holding() -> Holding:
    return Holding(report=lambda _: None)


def transactions_of(tenant: Tenant) -> set[str]:
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT xmin::text FROM telemetry_reading")
        return {row[0] for row in cursor.fetchall()}


def received_of(tenant: Tenant, now: datetime) -> int:
    with tenant_context(tenant):
        return sum(row.received for row in load_ledger(start=now - timedelta(days=1), end=now + timedelta(days=1), bucket="day"))


@pytest.mark.django_db(transaction=True)
def test_tenants_that_are_well_are_stored_in_one_transaction(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, holding: Holding
) -> None:
    committed: list[Committed] = []
    outcome = pipeline.process_messages(messages=batch, now=now, hand_on=committed.append, holding=holding)
    assert (outcome.stored, values_of(acme), values_of(globex)) == (4, [0, 3], [1, 2])
    assert transactions_of(acme) == transactions_of(globex)
    assert sorted((one.schema, one.message_count) for one in committed) == [("t_acme", 2), ("t_globex", 2)]
    assert is_in_public()


@pytest.mark.django_db(transaction=True)
def test_one_that_cannot_be_stored_together_leaves_the_others_and_is_counted_once(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_globex(monkeypatch, DataError("numeric field overflow"))
    outcome = pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None, holding=holding)
    assert (outcome.stored, outcome.refused) == (2, frozenset({1, 2}))
    assert (values_of(acme), values_of(globex)) == ([0, 3], [])
    assert (received_of(acme, now), received_of(globex, now)) == (2, 2)
    assert is_in_public()
    assert (holding.is_well("acme"), holding.is_well("globex")) == (True, False), "the others are not made to fail with it again"


@pytest.mark.django_db(transaction=True)
def test_what_is_committed_is_not_stored_again_where_what_follows_fails(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr("devices.services.set_timer", fail)
    outcome = pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None, holding=holding)
    assert (outcome.stored, outcome.duplicates, outcome.held) == (4, 0, 0)
    assert (received_of(acme, now), received_of(globex, now)) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_nobody_confirmed_is_not_tried_again_as_if_it_were_new(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in_globex(patch, OperationalError("server closed the connection unexpectedly"))
        with pytest.raises(OperationalError):
            pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None, holding=holding)
    assert (values_of(acme), values_of(globex)) == ([], [])
    again = [replace(m, delivery=replace(m.delivery, is_retry=True)) for m in batch if m.delivery is not None]
    pipeline.process_messages(messages=again, now=now, hand_on=lambda _: None, holding=holding)
    assert (values_of(acme), values_of(globex)) == ([0, 3], [1, 2])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_together", [True, False])
def test_a_partition_that_was_dropped_costs_no_message(
    batch: list[RawMessage], acme: Tenant, globex: Tenant, now: datetime, holding: Holding, is_together: bool
) -> None:
    def process() -> int:
        return pipeline.process_messages(messages=batch, now=now, hand_on=lambda _: None, holding=holding if is_together else None).stored

    process()
    with tenant_context(globex), connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partition_name(utc_day(now))}")
    process()
    assert len(values_of(globex)) == 2
