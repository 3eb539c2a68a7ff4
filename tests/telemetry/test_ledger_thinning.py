"""Old minutes of the ledger become hours, with the same sums."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django_tenants.utils import tenant_context

from iiot_site.lib import prepared
from telemetry import ledger_thinning, services
from telemetry.ledger import HOUR_SLOT, list_broken_entries, list_day_differences, load_ledger
from telemetry.ledger_thinning import thin_ledger
from telemetry.models import IngestLedger
from telemetry.services import record_ingest
from telemetry.types import IngestCount, LedgerRow
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.telemetry.builders import NOW, new_reading

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=37)


def enter(at: datetime, n: int, *, listener: str = "mqtt", reason: str = "too_old") -> None:
    count = IngestCount(listener, 4 * n, 2 * n, n, {reason: n}, n + 1, 1, 0, {at.date(): n, (at - timedelta(days=1)).date(): n})
    record_ingest(count=count, now=at)


@pytest.fixture
def entries(in_acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty hours of two listeners by two writers, every 25 minutes."""
    for writer in (0, 1):
        monkeypatch.setattr(services, "get_native_id", lambda writer=writer: writer)
        for n in range(72):
            enter(NOON + n * timedelta(minutes=25), n, reason="too_old" if n % 3 else "no_value")
            enter(NOON + n * timedelta(minutes=25), n, listener="http")


def told(bucket: str, start: datetime = NOON, end: datetime = LATER) -> Sequence[LedgerRow]:
    return load_ledger(start=start, end=end, bucket=bucket)


@pytest.mark.usefixtures("entries")
def test_hours_and_days_say_the_same_as_before_in_fewer_rows() -> None:
    before, differences = (told("hour"), told("day")), list_day_differences()
    rows = IngestLedger.objects.count()
    assert thin_ledger(now=LATER) == 5, "thirty hours, six at once"
    assert (told("hour"), told("day")) == before
    assert (IngestLedger.objects.count(), rows) == (2 * 30, 2 * 2 * 72)
    assert set(IngestLedger.objects.values_list("slot", flat=True)) == {HOUR_SLOT}
    assert list_broken_entries() == []
    assert list_day_differences() == differences
    assert thin_ledger(now=LATER) == 0


@pytest.mark.usefixtures("entries")
def test_the_last_weeks_keep_their_minutes() -> None:
    before = told("minute", start=NOON + timedelta(hours=5))
    thin_ledger(now=NOON + timedelta(days=35, hours=5, minutes=59))
    assert told("minute", start=NOON + timedelta(hours=5)) == before
    assert {row.time.minute for row in told("minute", end=NOON + timedelta(hours=5))} == {0}


@pytest.mark.usefixtures("entries")
def test_an_hour_takes_in_what_comes_to_it_later_and_counts_where_a_question_begins_in_it() -> None:
    thin_ledger(now=LATER)
    enter(NOON + timedelta(minutes=40), 1_000)
    before = told("hour")
    assert thin_ledger(now=LATER) == 1
    assert told("hour") == before
    [http, mqtt] = told("hour", start=NOON + timedelta(minutes=30), end=NOON + timedelta(hours=1))
    assert (http.listener, mqtt.listener) == ("http", "mqtt")
    assert (http.received, mqtt.received) == (2 * 4 * (0 + 1 + 2), 2 * 4 * (0 + 1 + 2) + 4_000)
    assert dict(mqtt.rejected_by_reason) == {"no_value": 0, "too_old": 2 * (1 + 2) + 1_000}


@pytest.mark.usefixtures("entries")
def test_a_merge_that_is_broken_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(IngestLedger.objects.order_by("pk").values_list())
    execute = prepared.execute_prepared

    def break_off(statement: str, facts: dict[str, object]) -> None:
        execute(statement, facts)
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger_thinning, "execute_prepared", break_off)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        thin_ledger(now=LATER)
    assert list(IngestLedger.objects.order_by("pk").values_list()) == before


@pytest.mark.usefixtures("entries")
def test_another_tenants_minutes_stay(globex: Tenant) -> None:
    with tenant_context(globex):
        enter(NOON, 1)
    thin_ledger(now=LATER)
    with tenant_context(globex):
        assert IngestLedger.objects.get().slot != HOUR_SLOT


def test_readings_and_ledger_agree_by_day_before_and_after(in_acme: Tenant, make_device: MakeDevice) -> None:
    device = make_device()
    metric = device.device_type.metrics.first()
    assert metric is not None
    with transaction.atomic():
        outcome = services.store_readings(readings=[new_reading(device_id=device.id, metric_id=metric.id)], now=NOW)
        record_ingest(count=IngestCount("mqtt", 1, 1, 0, {}, 1, 0, 0, outcome.stored_by_day), now=NOW)
    assert list_day_differences() == []
    assert thin_ledger(now=NOW + timedelta(days=40)) == 1
    assert list_day_differences() == []


@pytest.mark.usefixtures("in_acme")
def test_the_oldest_minute_is_found_without_reading_all_rows() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + ledger_thinning._OLDEST_SQL, [HOUR_SLOT, NOON])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index" in plan
