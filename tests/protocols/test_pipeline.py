"""From raw messages to stored readings: every policy, and nothing lost or doubled."""

import json
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.db.models.functions import Now
from django_tenants.utils import tenant_context
from msgspec.structs import replace

from devices.models import Device, DeviceType, Metric
from protocols import pipeline, storing
from protocols.handoff import Committed
from protocols.models import DeliveryWindow
from protocols.types import BatchOutcome, RawMessage
from telemetry.models import LatestReading, Reading, RejectedMessage, TextReading
from telemetry.services import store_readings
from telemetry.types import NewReading, StoreOutcome
from tenants.models import Tenant
from tenants.services import set_suspended
from tests.conftest import MakeDevice
from tests.protocols.conftest import MakeMessage


class Desk:
    """Runs batches and keeps what was handed on."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.committed: list[Committed] = []

    def process(self, *messages: RawMessage) -> BatchOutcome:
        return pipeline.process_messages(messages=messages, now=self.now, hand_on=self.committed.append)


@pytest.fixture
def desk(now: datetime) -> Desk:
    return Desk(now)


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device("pump-7", metrics=("temperature", "pressure"))


def values_of(device: Device) -> list[float]:
    return list(Reading.objects.filter(device=device).order_by("ts").values_list("value", flat=True))


def reasons(outcome: BatchOutcome) -> list[str]:
    return [refusal.reason for refusal in outcome.refusals]


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_a_message_becomes_readings_and_the_device_was_seen(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message('{"temperature": 21.5, "pressure": 3}'))
    assert outcome == BatchOutcome(2, 0, [])
    assert set(Reading.objects.values_list("metric__key", "value")) == {("temperature", 21.5), ("pressure", 3.0)}
    assert len(set(Reading.objects.values_list("ts", flat=True))) == 1
    pump.refresh_from_db()
    assert pump.last_seen_at == desk.now
    assert [len(batch.values) for batch in desk.committed] == [2]


def test_tenants_in_one_batch_do_not_mix(
    desk: Desk, acme: Tenant, globex: Tenant, make_device: MakeDevice, make_message: MakeMessage
) -> None:
    for tenant in (acme, globex):
        with tenant_context(tenant):
            make_device("pump-7")
    outcome = desk.process(make_message('{"temperature": 1}'), make_message('{"temperature": 2}', tenant="globex"))
    assert outcome.stored == 2
    for tenant, value in ((acme, 1.0), (globex, 2.0)):
        with tenant_context(tenant):
            assert [r.value for r in Reading.objects.all()] == [value]


def test_unknown_and_suspended_tenants_are_refused_alike(pump: Device, acme: Tenant, desk: Desk, make_message: MakeMessage) -> None:
    set_suspended(tenant=acme, is_suspended=True)
    outcome = desk.process(make_message('{"temperature": 1}'), make_message('{"temperature": 1}', tenant="nobody"))
    assert reasons(outcome) == ["unknown_tenant", "unknown_tenant"]
    assert desk.committed == []


def test_an_unknown_device_is_refused_and_kept_for_people_to_see(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message('{"temperature": 1}', device="pump-8"))
    assert reasons(outcome) == ["unknown_device"]
    rejected = RejectedMessage.objects.get()
    assert (rejected.reason, rejected.source, rejected.device_id) == ("unknown_device", "t/acme/pump-8/telemetry", None)
    assert bytes(rejected.payload) == b'{"temperature": 1}'


def test_a_disabled_device_is_refused(in_acme: Tenant, make_device: MakeDevice, desk: Desk, make_message: MakeMessage) -> None:
    make_device("pump-7", is_enabled=False)
    assert reasons(desk.process(make_message('{"temperature": 1}'))) == ["device_disabled"]


def test_a_frame_that_cannot_be_read_is_refused_with_its_reason(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message(b'{"temperature": '), make_message('{"temperature": 2}'))
    assert reasons(outcome) == ["malformed_json"]
    assert outcome.stored == 1
    rejected = RejectedMessage.objects.get()
    assert (rejected.reason, rejected.device_id) == ("malformed_json", pump.pk)


def test_unknown_metrics_are_registered_with_the_type_of_their_first_value(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message('{"speed": 1.5, "running": true, "state": "idle"}'))
    assert outcome.stored == 3
    types = dict(Metric.objects.filter(key__in=["speed", "running", "state"]).values_list("key", "data_type"))
    assert types == {"speed": "number", "running": "boolean", "state": "text"}
    assert TextReading.objects.get().value == "idle"
    assert desk.process(make_message('{"speed": 2}')).stored == 1


def test_unknown_metrics_are_refused_where_the_type_says_so(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    DeviceType.objects.update(unknown_metrics="reject")
    outcome = desk.process(make_message('{"speed": 1.5, "temperature": 20}'))
    assert (outcome.stored, reasons(outcome)) == (1, ["unknown_metric"])
    assert not Metric.objects.filter(key="speed").exists()


def test_names_that_are_no_metric_are_refused(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message('{"Zähler": 1, "": 2, "temperature": 20}'))
    assert (outcome.stored, reasons(outcome)) == (1, ["invalid_metric", "invalid_metric"])
    assert RejectedMessage.objects.get().detail.endswith("(and 1 more values)")


def test_no_more_than_two_hundred_metrics_are_registered_for_a_type(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message(json.dumps({f"m{n}": n for n in range(250)})))
    assert outcome.stored + len(outcome.refusals) == 250
    assert set(reasons(outcome)) == {"too_many_metrics"}
    assert Metric.objects.count() == 200


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"temperature": "hot", "pressure": 3}', "wrong_type"),
        ('{"temperature": true, "pressure": 3}', "wrong_type"),
        ('{"temperature": null, "pressure": 3}', "no_value"),
        ('{"note": "' + "x" * 1025 + '", "pressure": 3}', "text_too_long"),
        ('{"temperature": 1e101, "pressure": 3}', "out_of_range"),
        ('{"temperature": -1.7e308, "pressure": 3}', "out_of_range"),
    ],
)
def test_one_bad_value_does_not_take_the_others_with_it(
    pump: Device, desk: Desk, make_message: MakeMessage, payload: str, reason: str
) -> None:
    outcome = desk.process(make_message(payload))
    assert (outcome.stored, reasons(outcome)) == (1, [reason])
    assert Reading.objects.get().value == 3.0


def test_a_boolean_may_come_as_0_or_1_but_not_as_2(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    Metric.objects.create(device_type=pump.device_type, key="running", data_type="boolean")
    outcome = desk.process(make_message('{"running": 1}'), make_message('{"running": false}'), make_message('{"running": 2}'))
    assert values_of(pump) == [1.0, 0.0]
    assert reasons(outcome) == ["wrong_type"]


@pytest.mark.parametrize(
    ("value", "quality"),
    [
        ("20", 0),
        ("151", 1),
        ("-41", 1),
        ('{"value": 20, "quality": "bad"}', 2),
        ('{"value": 151, "quality": "bad"}', 2),
        ('{"value": 20, "unit": "°C"}', 0),
        ('{"value": 68, "unit": "°F"}', 1),
    ],
)
def test_quality_is_what_the_device_says_or_worse(pump: Device, desk: Desk, make_message: MakeMessage, value: str, quality: int) -> None:
    Metric.objects.filter(key="temperature").update(minimum=-40, maximum=150, unit="°C")
    desk.process(make_message(f'{{"temperature": {value}}}'))
    assert Reading.objects.get().quality == quality


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(days=31), ["too_old"]),
        (timedelta(days=29, hours=23), []),
        (timedelta(minutes=-9), []),
        (timedelta(minutes=-11), ["in_future"]),
    ],
)
def test_late_and_future_readings_follow_the_policy(
    pump: Device, desk: Desk, make_message: MakeMessage, age: timedelta, reason: list[str]
) -> None:
    outcome = desk.process(make_message(json.dumps({"ts": ms(desk.now - age), "values": {"temperature": 1}})))
    assert reasons(outcome) == reason


def test_the_latest_value_is_the_one_with_the_newest_source_time(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    at = ms(desk.now)
    for offset, value in ((0, 1), (-60_000, 2)):
        desk.process(make_message(json.dumps({"ts": at + offset, "values": {"temperature": value}})))
    assert LatestReading.objects.get().value == 1.0


# --- Once, however often it comes


def test_messages_of_one_instant_without_a_time_are_as_many_readings(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(*(make_message(f'{{"temperature": {n}}}') for n in range(50)))
    assert outcome.stored == 50
    assert values_of(pump) == list(range(50))


def test_a_list_without_times_keeps_every_value(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(make_message('[{"temperature": 1}, {"temperature": 2}]'), make_message('{"temperature": 3}'))
    assert outcome.stored == 3
    assert values_of(pump) == [1, 2, 3]


def test_a_reading_with_a_time_is_stored_once(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    payload = json.dumps({"ts": ms(desk.now), "values": {"temperature": 5}})
    outcomes = [desk.process(make_message(payload, packet_id=7, dup=dup)) for dup in (False, True)]
    assert [(o.stored, o.duplicates) for o in outcomes] == [(1, 0), (0, 1)]


def test_a_redelivered_batch_without_times_is_stored_once(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    first = desk.process(*(make_message('{"temperature": 5}', packet_id=n) for n in range(1, 6)))
    again = desk.process(*(make_message('{"temperature": 5}', packet_id=n, dup=True) for n in range(1, 8)))
    assert (first.stored, again.stored, again.duplicates) == (5, 2, 5)
    assert Reading.objects.count() == 7


def test_it_is_stored_once_even_if_it_comes_again_and_again(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    for n in range(30):
        batch = [make_message('{"temperature": 5}', packet_id=p, dup=n > 0, delivery_count=300 * n + p) for p in range(1, 11)]
        desk.process(*batch)
    assert Reading.objects.count() == 10


def test_copies_that_wait_in_the_same_batch_are_stored_once(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    outcome = desk.process(
        make_message('{"temperature": 5}', packet_id=1),
        make_message('{"temperature": 5}', packet_id=2),
        make_message('{"temperature": 5}', packet_id=1, dup=True),
    )
    assert (outcome.stored, outcome.duplicates) == (2, 1)


def test_a_packet_id_that_was_given_out_anew_is_a_new_message(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    desk.process(make_message('{"temperature": 5}', packet_id=1))
    outcome = desk.process(
        make_message('{"temperature": 5}', packet_id=1),  # not marked as sent again
        make_message('{"temperature": 6}', packet_id=1, dup=True),  # another content
        make_message('{"temperature": 5}', packet_id=1, dup=True, delivery_count=70_000),  # too long ago
    )
    assert outcome.stored + outcome.duplicates == 3
    assert outcome.duplicates == 1  # the third equals the first of its own batch


def test_an_entry_of_long_ago_does_not_count(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    desk.process(make_message('{"temperature": 5}', packet_id=1, delivery_count=1))
    outcome = desk.process(make_message('{"temperature": 5}', packet_id=1, dup=True, delivery_count=70_000))
    assert outcome.stored == 1


@pytest.mark.parametrize(("age", "stored"), [(timedelta(seconds=240), 0), (timedelta(seconds=250), 1)])
def test_a_number_that_lives_for_247_seconds_is_a_new_message_after_them(
    pump: Device, desk: Desk, make_message: MakeMessage, age: timedelta, stored: int
) -> None:
    first, again = (make_message('{"temperature": 5}', packet_id=1, dup=dup) for dup in (False, True))
    assert again.delivery is not None
    desk.process(first)
    DeliveryWindow.objects.update(recorded_at=Now() - age)
    again = replace(again, delivery=replace(again.delivery, lifetime_seconds=247))
    assert desk.process(again).stored == stored


def test_a_rejected_message_that_comes_again_is_noted_once(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    for dup in (False, True):
        desk.process(make_message("{", packet_id=3, dup=dup))
    assert RejectedMessage.objects.count() == 1


def test_only_what_can_come_again_unnoticed_is_remembered(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    timed = json.dumps({"ts": ms(desk.now), "values": {"temperature": 5}})
    desk.process(make_message(timed, packet_id=1), make_message('{"temperature": 5}', packet_id=2), make_message('{"temperature": 5}'))
    assert [row.numbers for row in DeliveryWindow.objects.all()] == [[2]]


# --- When storing fails


def test_a_message_that_cannot_be_stored_does_not_stop_the_rest(
    pump: Device, desk: Desk, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:

    def store(*, readings: list[NewReading], now: datetime) -> StoreOutcome:
        if any(reading.value == 13 for reading in readings):
            raise DataError("numeric field overflow")
        return store_readings(readings=readings, now=now)

    monkeypatch.setattr(storing, "store_readings", store)
    outcome = desk.process(*(make_message(f'{{"temperature": {n}}}', packet_id=n + 1) for n in range(20)))
    assert outcome.stored == 19
    assert [(r.index, r.reason) for r in outcome.refusals] == [(13, "internal_error")]
    assert 13 not in values_of(pump)
    assert RejectedMessage.objects.get().reason == "internal_error"
    assert sum(len(batch.values) for batch in desk.committed) == 19


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_fails_the_batch_and_a_retry_stores_it_once(
    pump: Device, desk: Desk, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    messages = [make_message('{"temperature": 5}', packet_id=n) for n in range(1, 4)]
    with monkeypatch.context() as patch:
        patch.setattr(storing, "record_activity", fail)
        with pytest.raises(OperationalError):
            desk.process(*messages)
    assert (Reading.objects.count(), desk.committed) == (0, [])
    assert desk.process(*messages).stored == 3


def test_nothing_is_handed_on_before_the_commit_or_twice(pump: Device, desk: Desk, make_message: MakeMessage) -> None:
    desk.process(make_message('{"temperature": 5}', packet_id=1))
    desk.process(make_message('{"temperature": 5}', packet_id=1, dup=True))
    assert [len(batch.values) for batch in desk.committed] == [1, 0]


# --- What is left behind


@pytest.mark.parametrize("payload", ['{"temperature": ', '{"temperature": "hot"}', "x" * 400_000])
def test_a_message_that_was_refused_keeps_nothing_of_its_batch_in_memory(
    pump: Device, now: datetime, make_message: MakeMessage, payload: str
) -> None:
    refused, good = make_message(payload), make_message('{"temperature": 5}')
    pipeline.process_messages(messages=[make_message(payload)], now=now, hand_on=lambda _: None)  # fills caches
    before = [sys.getrefcount(message.payload) for message in (refused, good)]
    for _ in range(3):
        pipeline.process_messages(messages=[refused, good], now=now, hand_on=lambda _: None)
    assert [sys.getrefcount(message.payload) for message in (refused, good)] == before
