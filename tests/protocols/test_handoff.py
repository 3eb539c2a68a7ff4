"""What follows a commit: only watched numbers reach the rules, and nothing here fails what is stored."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from django_tenants.utils import schema_context, tenant_context
from kombu.exceptions import OperationalError as BrokerError

from devices.models import Device
from devices.types import DeviceRef, MetricRef
from protocols import handoff
from protocols.handoff import Committed, HandOffThread, StoredValue, hand_on_now
from protocols.pipeline import process_messages
from protocols.resolution import clear_caches
from rules.models import Rule
from rules.services import save_rule
from rules.tasks import evaluate_series_task
from telemetry.models import Reading
from telemetry.types import NewReading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.conftest import MakeMessage
from tests.waiting import WAIT_SECONDS, wait_until


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice, now: datetime) -> Device:
    """A pump whose temperature some rule reads."""
    with tenant_context(acme):
        pump = make_device("pump-7", metrics=("temperature", "pressure"))
        condition = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80}
        save_rule(rule=Rule(name="Too hot", condition=condition, device_type=pump.device_type), now=now)
    return pump


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The series that went to the rules, a list for each task."""
    tasks: list[list[Any]] = []
    monkeypatch.setattr(evaluate_series_task, "apply_async", lambda args, **_: tasks.append(args[0]))
    return tasks


def test_the_rules_are_told_of_watched_numbers_and_where_they_begin(
    pump: Device, sent: list[list[Any]], make_message: MakeMessage, now: datetime
) -> None:
    late = make_message(json.dumps({"ts": (now - timedelta(seconds=5)).isoformat(), "values": {"temperature": 98}}))
    process_messages(messages=[make_message('{"temperature": 99, "pressure": 3, "state": "idle"}'), late], now=now)
    [[(device_id, _, oldest)]] = sent
    assert (device_id, oldest) == (pump.pk, (now - timedelta(seconds=5)).isoformat())


@pytest.mark.usefixtures("pump")
def test_values_of_bad_quality_are_nothing_to_the_rules(sent: list[list[Any]], make_message: MakeMessage, now: datetime) -> None:
    process_messages(messages=[make_message('{"temperature": {"value": 99, "quality": "bad"}}')], now=now)
    assert sent == []


def test_large_batches_are_split_into_tasks(
    pump: Device, sent: list[list[Any]], make_device: MakeDevice, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "RULES_CHUNK_SIZE", 2)
    with schema_context("t_acme"):
        keys = [make_device(f"pump-{number}", name=f"Pump {number}").key for number in (1, 2)]
    process_messages(messages=[make_message('{"temperature": 1}', device=key) for key in (*keys, pump.key, pump.key)], now=timezone.now())
    assert [len(series) for series in sent] == [2, 1]


@pytest.mark.usefixtures("pump")
def test_storing_goes_on_without_the_task_queue(
    acme: Tenant, make_message: MakeMessage, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr(evaluate_series_task, "apply_async", refuse)
    assert process_messages(messages=[make_message('{"temperature": 99}')], now=now).stored == 1
    with tenant_context(acme):
        assert Reading.objects.count() == 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[Committed]]]:
    """Hands on only once the event is set; the second batch fails."""
    opened, handed = threading.Event(), list[Committed]()

    def hand_on(batch: Committed) -> None:
        assert opened.wait(WAIT_SECONDS)
        handed.append(batch)
        if len(handed) == 2:
            raise RuntimeError("one bad batch")

    monkeypatch.setattr(handoff, "_show", hand_on)
    yield opened, handed
    opened.set()


def test_the_thread_keeps_the_order_survives_a_bad_batch_and_never_blocks(
    gate: tuple[threading.Event, list[Committed]], now: datetime
) -> None:
    opened, handed = gate
    thread = HandOffThread(capacity=3)
    thread.start()
    batches = [Committed("t_acme", (), n, now) for n in range(10)]
    for batch in batches:
        thread.put(batch)  # most find no room and are left to the sweep
    opened.set()
    thread.stop(timeout_seconds=WAIT_SECONDS)
    order = [batch.message_count for batch in handed]
    assert order == sorted(order)
    assert 3 <= len(order) <= 5


def test_what_waits_is_bounded_by_its_values(
    gate: tuple[threading.Event, list[Committed]], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, handed = gate
    monkeypatch.setattr(handoff, "MAX_QUEUED_VALUES", 10)
    device = DeviceRef(1, uuid4(), "pump-7", "Pump 7", 1, None, registers_unknown_metrics=True, is_enabled=True)
    value = StoredValue(device, MetricRef(1, "t", "", "number", None, None), NewReading(1, 1, now, now, 1.0, None, 0))
    thread = HandOffThread()
    thread.start()
    for number in range(5):
        thread.put(Committed("t_acme", [value] * 4, number, now))
    opened.set()
    thread.stop(timeout_seconds=WAIT_SECONDS)
    assert [batch.message_count for batch in handed] == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_the_thread_finds_the_database_again(pump: Device, sent: list[list[Any]], make_message: MakeMessage, now: datetime) -> None:
    thread = HandOffThread()
    thread.start()
    process_messages(messages=[make_message('{"temperature": 99}')], now=now, hand_on=thread.put)
    wait_until(lambda: len(sent) == 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    clear_caches()  # so that it has to ask the database
    process_messages(messages=[make_message('{"temperature": 99}')], now=now, hand_on=thread.put)
    thread.stop(timeout_seconds=WAIT_SECONDS)
    assert len(sent) == 2


def test_nothing_is_pushed_for_a_batch_without_readings(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(handoff, "push_readings", lambda *_: pytest.fail("pushed"))
    hand_on_now(Committed("t_acme", (), 1, now))
