"""What devices say besides readings, in batches: few statements however many say it, and a ledger that adds up."""

from datetime import datetime, timedelta

import cbor2
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from devices.command_services import claim_commands, mark_sent, queue_command
from devices.models import Device
from devices.state_services import change_desired, load_state
from protocols.control_messages import take_in
from protocols.types import REPORTED, STATUS, RawMessage
from telemetry.ledger import list_broken_entries, load_ledger
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.conftest import MakeMessage


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device("pump-7", protocol="mqtt")


def status(make_message: MakeMessage, word: str, *, device: str = "pump-7", age_seconds: int = 0) -> RawMessage:
    return replace(make_message(word, device=device, age=timedelta(seconds=age_seconds)), channel=STATUS)


def count_queries(messages: list[RawMessage], now: datetime) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert take_in(list(enumerate(messages)), uncovered=(), now=now) == []
    return len(queries)


def test_ten_devices_that_come_back_cost_as_many_statements_as_one(
    in_acme: Tenant, make_device: MakeDevice, make_message: MakeMessage, now: datetime
) -> None:
    for number in range(12):
        make_device(f"pump-{number}", protocol="mqtt")
    first, one = (count_queries([status(make_message, "online", device=device)], now) for device in ("pump-11", "pump-10"))
    ten = count_queries([status(make_message, "online", device=f"pump-{number}") for number in range(10)], now)
    assert ten == one <= first  # the first asks for the tenant, too
    assert set(Device.objects.values_list("connection", "status")) == {("online", "online")}


def test_of_many_words_of_a_device_the_last_counts(pump: Device, make_message: MakeMessage, now: datetime) -> None:
    words = [status(make_message, word, age_seconds=age) for age, word in ((9, "online"), (6, "offline"), (3, "online"), (0, "offline"))]
    take_in(list(enumerate(words)), uncovered=(), now=now)
    pump.refresh_from_db()
    assert (pump.connection, pump.connection_since, pump.last_seen_at) == ("offline", now, words[2].received_at)
    take_in([(0, words[0])], uncovered=(), now=now)
    pump.refresh_from_db()
    assert pump.connection == "offline"


def test_whoever_comes_back_gets_what_waits_and_the_others_nothing(
    pump: Device, make_device: MakeDevice, make_message: MakeMessage, now: datetime
) -> None:
    other = make_device("pump-8", protocol="mqtt")
    before = now - timedelta(seconds=5)
    waiting = [queue_command(device=device, name="reboot", payload=None, now=before) for device in (pump, other)]
    claim_commands(protocol="mqtt", now=before)
    mark_sent(command_ids=[command.pk for command in waiting], now=before)
    change_desired(device=pump, patch={"rpm": 900}, now=before)
    take_in([(0, status(make_message, "online")), (1, status(make_message, "offline", device="pump-8"))], uncovered=(), now=now)
    assert [command.device_key for command in claim_commands(protocol="mqtt", now=now)] == ["pump-7"]
    assert load_state(pump).offer_at == now


def test_a_refused_flood_is_one_row_for_a_device_and_counted_whole(
    pump: Device, make_device: MakeDevice, make_message: MakeMessage, now: datetime
) -> None:
    make_device("pump-8")
    flood = [status(make_message, "online", device=device) for device in ("pump-7", "pump-7", "pump-7", "pump-8")]
    flood.append(status(make_message, "asleep"))
    refusals = take_in(list(enumerate(flood)), uncovered=range(4), now=now)
    assert [(refusal.index, refusal.reason) for refusal in refusals] == [*((i, "rate_limited") for i in range(4)), (4, "malformed_json")]
    details = dict(RejectedMessage.objects.filter(reason="rate_limited").values_list("device__key", "detail"))
    assert set(details) == {"pump-7", "pump-8"}
    assert details["pump-7"].endswith("(and 2 more messages)")
    [row] = load_ledger(start=now - timedelta(days=1), end=now + timedelta(days=1), bucket="day")
    assert (row.received, row.rejected, row.rejected_by_reason) == (5, 5, {"rate_limited": 4, "malformed_json": 1})
    assert list_broken_entries() == []


def test_a_state_may_be_reported_in_cbor(pump: Device, make_message: MakeMessage, now: datetime) -> None:
    report = replace(make_message(cbor2.dumps({"rpm": 900})), channel=REPORTED, codec="cbor")
    assert take_in([(0, report)], uncovered=(), now=now) == []
    assert load_state(pump).reported == {"rpm": 900}
