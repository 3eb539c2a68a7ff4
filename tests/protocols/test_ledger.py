"""The ingest ledger adds up, whatever comes in, and says no more and no less than is stored."""

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connection
from django_tenants.utils import tenant_context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from devices.models import Device, Metric
from devices.services import issue_credential
from protocols import pipeline, storing
from protocols.models import UnroutedCount
from protocols.services import count_unrouted, thin_unrouted
from protocols.types import BatchOutcome, RawMessage
from telemetry.ledger import list_broken_entries, list_day_differences, load_ledger
from telemetry.models import IngestLedger, Reading, RejectedMessage
from telemetry.services import store_readings
from telemetry.types import LedgerRow, NewReading, StoreOutcome
from tenants.models import Tenant, User
from tests.concurrency import run_at_once
from tests.conftest import MakeApi, MakeDevice
from tests.protocols.conftest import MakeMessage

URL = "/api/v1/telemetry"


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    make_device("pump-9", is_enabled=False)
    return make_device("pump-7", metrics=("temperature", "pressure"))


def process(now: datetime, *messages: RawMessage) -> BatchOutcome:
    return pipeline.process_messages(messages=messages, now=now, hand_on=lambda batch: None)


def total(now: datetime) -> LedgerRow:
    """Return the one listener's day."""
    [row] = load_ledger(start=now - timedelta(days=1), end=now + timedelta(days=1), bucket="day")
    return row


def figures(row: LedgerRow) -> tuple[int, int, int, int]:
    return row.received, row.stored, row.duplicate, row.rejected


def assert_right() -> None:
    assert (list_broken_entries(), list_day_differences()) == ([], [])


def test_every_value_is_counted_once_with_what_became_of_it(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    timed = json.dumps({"ts": int(now.timestamp() * 1000), "values": {"temperature": 5}})
    process(
        now,
        make_message(timed),
        make_message(timed),
        make_message('{"temperature": 1, "pressure": "high"}'),
        make_message("{"),
        make_message('{"temperature": 1, "pressure": 2}', device="nobody"),
        make_message('{"temperature": 1}', device="pump-9"),
        make_message('{"flow": null}'),
    )
    [row] = load_ledger(start=now - timedelta(minutes=1), end=now + timedelta(seconds=1), bucket="minute")
    assert figures(row) == (8, 2, 1, 5)
    assert row.adds_up
    assert row.rejected_by_reason == {"wrong_type": 1, "malformed_json": 1, "unknown_device": 1, "device_disabled": 1, "no_value": 1}
    assert (row.messages, row.messages_repeated, row.messages_rejected) == (7, 0, 4)
    assert_right()


def test_what_the_broker_sends_again_is_a_duplicate(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    for dup in (False, True):
        process(now, make_message('{"temperature": 1, "pressure": 2}', packet_id=1, dup=dup))
    assert figures(total(now)) == (4, 2, 2, 0)
    assert (total(now).messages, total(now).messages_repeated) == (2, 1)
    assert_right()


def test_a_culprit_is_counted_and_the_rest_with_it(
    pump: Device, now: datetime, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(*, readings: list[NewReading], now: datetime) -> StoreOutcome:
        if any(reading.value == 13 for reading in readings):
            raise DataError("numeric field overflow")
        return store_readings(readings=readings, now=now)

    monkeypatch.setattr(storing, "store_readings", store)
    process(now, *(make_message(f'{{"temperature": {n}}}') for n in range(20)))
    assert figures(total(now)) == (20, 19, 0, 1)
    assert total(now).rejected_by_reason == {"internal_error": 1}
    assert_right()


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_failed_leaves_no_trace_and_counts_once_when_it_comes_again(
    pump: Device, now: datetime, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    message = make_message('{"temperature": 5}', packet_id=1)
    for name in ("record_deliveries", "record_ingest"):
        with monkeypatch.context() as patch:
            patch.setattr(storing, name, lambda *_, **__: fail())
            with pytest.raises(OperationalError):
                process(now, message)
        assert not IngestLedger.objects.exists()
    process(now, message)
    assert figures(total(now)) == (1, 1, 0, 0)
    assert_right()


def test_messages_for_no_tenant_are_counted_by_listener(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    process(now, *(make_message("{}", tenant=f"nobody-{n % 2}") for n in range(5)))
    assert [(row.listener, row.messages) for row in UnroutedCount.objects.all()] == [("mqtt", 5)]
    assert not IngestLedger.objects.exists()


def test_late_values_are_counted_on_the_day_of_their_source_time(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    times = [int((now - timedelta(days=days)).timestamp() * 1000) for days in (0, 1, 1, 5)]
    messages = [{"ts": time, "values": {"temperature": 1, "note": "late"}} for time in times]
    process(now, make_message(json.dumps(messages)))
    assert figures(total(now)) == (8, 6, 2, 0)
    days = IngestLedger.objects.get().stored_by_day
    assert days == {str((now - timedelta(days=n)).date()): 2 for n in (0, 1, 5)}
    assert_right()


# --- Any batch

_VALUE = st.one_of(st.floats(-9, 9), st.booleans(), st.none(), st.text(max_size=3))
_VALUES = st.dictionaries(st.sampled_from(["temperature", "pressure", "new", "0", ""]), _VALUE, max_size=4)
_OFFSET = st.sampled_from([0, 0, -1, -86_400, -40 * 86_400, 9_000])
_PAYLOAD = st.one_of(_VALUES, st.lists(st.tuples(_OFFSET, _VALUES), max_size=3), st.binary(max_size=6))
_MESSAGE = st.tuples(
    st.sampled_from(["pump-7", "pump-7", "pump-9", "nobody"]), _PAYLOAD, st.sampled_from([None, 1, 2]), st.booleans(), st.sampled_from("ab")
)


def _encode(content: Any, now: datetime) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, list):
        stamp = int(now.timestamp() * 1000)
        return json.dumps([{"ts": stamp + offset * 1000, "values": values} for offset, values in content]).encode()
    return json.dumps(content).encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=st.lists(st.lists(_MESSAGE, max_size=6), max_size=3))
def test_it_adds_up_for_any_batches(pump: Device, now: datetime, make_message: MakeMessage, batches: list[list[Any]]) -> None:
    for batch in batches:
        process(now, *(make_message(_encode(content, now), device=d, packet_id=p, dup=dup) for d, content, p, dup, _ in batch))
    assert_right()
    # The examples share one database; every message of all of them is in the ledger.
    assert sum(row.stored for row in IngestLedger.objects.all()) >= Reading.objects.count()


@pytest.mark.django_db(transaction=True)
def test_it_adds_up_when_many_write_at_once(acme: Tenant, make_device: MakeDevice, now: datetime, make_message: MakeMessage) -> None:
    with tenant_context(acme):
        make_device("pump-7")
    stamp = int(now.timestamp() * 1000)
    payloads = [json.dumps({"ts": stamp - n % 40, "values": {"temperature": n}}) for n in range(60)]
    batch = [*(make_message(payload) for payload in payloads), make_message("{")]
    errors = run_at_once(acme, [lambda: [process(now, *batch) for _ in range(10)]] * 6)
    assert errors == [None] * 6
    with tenant_context(acme):
        assert_right()
        rows = load_ledger(start=now - timedelta(minutes=1), end=now + timedelta(seconds=1), bucket="minute")
    assert [figures(row) for row in rows] == [(61 * 60, 40, 60 * 60 - 40, 60)]


# --- HTTP


@pytest.fixture
def device(pump: Device, now: datetime) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue_credential(device=pump, kind='token', now=now).secret}")
    return client


def test_http_counts_what_it_stores_and_what_it_refuses(device: APIClient, acme: Tenant, now: datetime) -> None:
    assert device.post(URL, {"temperature": 21.5}).status_code == 200
    assert device.post(URL, b"{", content_type="application/json").status_code == 400
    assert device.post(URL, [{"temperature": 1}, {"device": "pump-9", "temperature": 1}, 7]).status_code == 200
    with tenant_context(acme):
        rows = load_ledger(start=now - timedelta(minutes=1), end=now + timedelta(hours=1), bucket="minute")
        assert_right()
    assert {row.listener for row in rows} == {"http"}
    assert tuple(map(sum, zip(*(figures(row) for row in rows), strict=True))) == (5, 2, 0, 3)


def test_the_ledger_can_be_read_by_listener_and_as_csv(
    pump: Device, acme: Tenant, now: datetime, make_message: MakeMessage, acme_viewer: User, api: MakeApi
) -> None:
    process(now, make_message('{"temperature": 1, "pressure": "x"}'))
    client = api(acme_viewer, acme)
    [row] = client.get(f"{URL}/ledger?bucket=day").json()["results"]
    assert (row["listener"], row["received"], row["stored"], row["adds_up"]) == ("mqtt", 2, 1, True)
    assert row["rejected_by_reason"] == {"wrong_type": 1}
    assert client.get(f"{URL}/ledger?listener=http").json() == {"results": []}
    answer = client.get(f"{URL}/ledger?format=csv")
    assert answer["Content-Type"].startswith("text/csv")
    head, line = answer.content.decode().splitlines()
    assert head.startswith("time,listener,received,stored,duplicate,rejected")
    assert line.endswith("mqtt,2,1,0,1,1,0,0,wrong_type=1,True")


@pytest.mark.parametrize("query", ["bucket=week", "from=x", "from=2026-02-01&to=2026-01-01", "from=2020-01-01&bucket=minute"])
def test_a_query_that_makes_no_sense_is_refused(query: str, acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    for suffix in ("", "&format=csv"):
        assert api(acme_viewer, acme).get(f"{URL}/ledger?{query}{suffix}").status_code == 400


def test_another_tenants_ledger_stays_out_of_sight(
    pump: Device, globex: Tenant, now: datetime, make_message: MakeMessage, globex_admin: User, api: MakeApi
) -> None:
    process(now, make_message('{"temperature": 1}'))
    assert api(globex_admin, globex).get(f"{URL}/ledger").json() == {"results": []}


# --- check_ledger


def test_of_many_broken_entries_some_are_listed(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    for minutes in range(3):
        process(now - timedelta(minutes=minutes), make_message('{"temperature": 1}'))
    IngestLedger.objects.update(received=7)
    assert [minute for minute, _, _ in list_broken_entries(limit=2)] == sorted(IngestLedger.objects.values_list("minute", flat=True))[:2]


def test_the_check_finds_readings_that_are_gone_and_entries_that_do_not_add_up(
    pump: Device, now: datetime, make_message: MakeMessage
) -> None:
    process(now, make_message('{"temperature": 1, "pressure": 2}'))
    out, err = StringIO(), StringIO()
    call_command("check_ledger", stdout=out)
    assert "every entry adds up" in out.getvalue()
    Reading.objects.filter(metric__in=Metric.objects.filter(key="pressure")).delete()
    with pytest.raises(CommandError, match="acme"):
        call_command("check_ledger", "--tenant", "acme", stderr=err)
    assert f"{now.date()} has 1 readings, the ledger says 2" in err.getvalue()
    IngestLedger.objects.update(received=7)
    with pytest.raises(CommandError):
        call_command("check_ledger", stderr=err)
    assert "does not add up" in err.getvalue()
    with pytest.raises(CommandError, match="no active tenant"):
        call_command("check_ledger", "--tenant", "nobody")
    assert connection.schema_name == "t_acme"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("pump")
def test_a_flood_is_counted_by_the_message_and_kept_once(make_message: MakeMessage, now: datetime) -> None:
    messages = [make_message('{"temperature": 1}') for _ in range(5)]
    outcome = pipeline.process_messages(messages=messages, now=now, uncovered={2, 3, 4})
    assert (outcome.stored, outcome.refused) == (2, frozenset({2, 3, 4}))
    [row] = IngestLedger.objects.values("received", "stored", "rejected_by_reason")
    assert row == {"received": 5, "stored": 2, "rejected_by_reason": {"rate_limited": 3}}
    [kept] = RejectedMessage.objects.all()
    assert "and 2 more messages" in kept.detail


def test_what_no_tenant_took_is_counted_by_the_hour_after_a_while(now: datetime, db: None) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    for minute, listener in ((0, "mqtt"), (1, "mqtt"), (59, "mqtt"), (1, "http")):
        count_unrouted(listener=listener, messages=minute + 1, now=hour + timedelta(minutes=minute))
    thin_unrouted(now=now + timedelta(days=34))
    assert UnroutedCount.objects.count() == 4
    for _ in range(2):
        thin_unrouted(now=now + timedelta(days=36))
        assert set(UnroutedCount.objects.values_list("minute", "listener", "messages")) == {(hour, "mqtt", 63), (hour, "http", 2)}
