"""A null says that the value is unknown, in every format: the last value is marked bad."""

import json
from datetime import datetime, timedelta

import pytest
from django_tenants.utils import tenant_context
from msgspec.structs import replace

from devices.models import Device, Metric
from iiot_site.lib.schemas import current_schema
from protocols import pipeline
from protocols.bench import judge_pasted
from protocols.types import BatchOutcome, RawMessage
from telemetry.ledger import list_broken_entries, load_ledger
from telemetry.models import LatestReading, Reading, RejectedMessage, TextReading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.codecs.frames import FRAMES
from tests.protocols.conftest import MakeMessage


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    pump = make_device("pump-7", metrics=("temperature", "pressure", "never", "nor-this"))
    Metric.objects.create(device_type=pump.device_type, key="state", data_type="text")
    return pump


def process(now: datetime, *messages: RawMessage) -> BatchOutcome:
    return pipeline.process_messages(messages=messages, now=now, hand_on=lambda _: None)


def timed(moment: datetime, value: object) -> str:
    return json.dumps({"ts": int(moment.timestamp() * 1000), "values": {"temperature": value}})


def points(metric: str = "temperature") -> list[tuple[float, int]]:
    return list(Reading.objects.filter(metric__key=metric).order_by("ts").values_list("value", "quality"))


@pytest.mark.parametrize(("name", "codec"), [("null.json", "json"), ("null.cbor", "cbor"), ("null.sparkplug", "sparkplug")])
def test_a_null_marks_the_last_value_bad_and_is_refused_once_where_there_is_none(
    pump: Device, now: datetime, make_message: MakeMessage, name: str, codec: str
) -> None:
    process(now, make_message('{"temperature": 21.5, "state": "Rinse"}', age=timedelta(seconds=1)))
    frame = replace(make_message((FRAMES / name).read_bytes()), codec=codec)
    outcome = process(now, frame)
    assert outcome.stored == 3
    [refusal] = outcome.refusals
    assert (refusal.reason, refusal.metric) == ("no_value", "never")
    assert "'never', 'nor-this'" in refusal.detail
    assert points() == [(21.5, 0), (21.5, 2)]
    assert points("pressure") == [(3.0, 0)]
    assert list(TextReading.objects.order_by("ts").values_list("value", "quality")) == [("Rinse", 0), ("Rinse", 2)]
    assert set(LatestReading.objects.values_list("metric__key", "quality")) == {("temperature", 2), ("state", 2), ("pressure", 0)}
    assert RejectedMessage.objects.get().reason == "no_value"
    [row] = load_ledger(start=now - timedelta(minutes=2), end=now + timedelta(seconds=1), bucket="day")
    assert (row.received, row.stored, row.rejected_by_reason, row.messages_rejected) == (6, 5, {"no_value": 1}, 0)
    assert list_broken_entries() == []


def test_a_message_of_nothing_but_nulls_without_a_past_is_refused_as_a_whole(
    pump: Device, now: datetime, make_message: MakeMessage
) -> None:
    outcome = process(now, make_message('{"never": null, "nor-this": null}'))
    assert (outcome.stored, outcome.refused) == (0, frozenset({0}))
    assert Metric.objects.filter(key="new").count() == 0
    assert [refusal.reason for refusal in process(now, make_message('{"new": null}')).refusals] == ["no_value"]
    assert not Metric.objects.filter(key="new").exists(), "a null says nothing of what the metric is"


def test_a_null_has_the_value_that_came_before_it_in_the_same_batch(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    messages = [make_message(timed(now - timedelta(seconds=9 - n), value)) for n, value in enumerate((1, None, 2, None, None))]
    assert process(now, *messages).stored == 5
    assert points() == [(1.0, 0), (1.0, 2), (2.0, 0), (2.0, 2), (2.0, 2)]


def test_a_late_null_has_the_value_of_its_time(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    process(now, *(make_message(timed(now - timedelta(minutes=minutes), minutes)) for minutes in (3, 1)))
    late = timed(now - timedelta(minutes=2), None)
    assert process(now, make_message(late)).stored == 1
    assert points() == [(3.0, 0), (3.0, 2), (1.0, 0)]
    assert process(now, make_message(late)).duplicates == 1
    too_late = make_message(timed(now - timedelta(minutes=4), None))
    assert [refusal.reason for refusal in process(now, too_late).refusals] == ["no_value"]
    assert [refusal.reason for refusal in process(now, make_message(timed(now - timedelta(days=40), None))).refusals] == ["too_old"]


def test_nobodys_null_shows_a_value_of_another_tenant(
    pump: Device, globex: Tenant, now: datetime, make_device: MakeDevice, make_message: MakeMessage
) -> None:
    process(now, make_message('{"temperature": 21.5}', age=timedelta(seconds=1)))
    with tenant_context(globex):
        make_device("pump-7", metrics=("temperature",))
    outcome = process(now, make_message('{"temperature": null}', tenant="globex"))
    assert (outcome.stored, [refusal.reason for refusal in outcome.refusals]) == (0, ["no_value"])
    assert current_schema() == "t_acme"


def test_the_bench_says_what_becomes_of_a_null(pump: Device, now: datetime, make_message: MakeMessage) -> None:
    process(now, make_message('{"temperature": 21.5}', age=timedelta(seconds=1)))
    payload = '{"never": null, "temperature": null}'
    frame = judge_pasted(payload=payload, encoding="text", codec="auto", device="pump-7", line_precision="ns", now=now)
    never, temperature = frame.samples
    assert never.refusal is not None
    assert never.refusal.reason == "no_value"
    assert (temperature.refusal, temperature.quality) == (None, 2)
