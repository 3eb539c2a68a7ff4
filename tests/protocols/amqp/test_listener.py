"""The listener against a real RabbitMQ: nothing acknowledged before the commit, nothing lost, nothing twice, a clean end."""

import json
import struct
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context

from protocols import writer
from protocols.amqp.listener import AmqpListener
from protocols.amqp.names import DEAD_QUEUE, TELEMETRY_QUEUE
from protocols.broker_address import parse_amqp_url
from protocols.models import DeliveryWindow, ListenerState, UnroutedCount
from protocols.pipeline import process_messages
from protocols.progress import Progress
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.amqp.conftest import Publisher, RunListener
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7")


def values(tenant: Tenant) -> list[float]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("ts").values_list("value", flat=True))


def untimed(number: float) -> str:
    return json.dumps({"temperature": number})


def timed(number: float, now: datetime) -> str:
    return json.dumps({"ts": int(now.timestamp() * 1000) - 1_000 + int(number), "values": {"temperature": number}})


def test_messages_are_stored_in_the_order_they_came_and_then_acknowledged(
    acme: Tenant, platform: Publisher, run_listener: RunListener
) -> None:
    with run_listener():
        for number in range(20):
            platform.publish(untimed(number))
        wait_until(lambda: len(values(acme)) == 20)
        wait_until(lambda: not DeliveryWindow.objects.exists())  # forgotten once the broker has the acknowledgement
    assert values(acme) == list(range(20))
    state = ListenerState.objects.get()
    assert (state.name, state.state, state.messages, state.rejected) == ("amqp", "stopped", 20, 0)
    wait_until(lambda: platform.waiting() == 0)


def test_what_came_while_no_listener_ran_is_stored_later(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    for number in (1, 2, 3):
        platform.publish(untimed(number))
    with run_listener():
        wait_until(lambda: len(values(acme)) == 3)
    assert values(acme) == [1, 2, 3]


def test_what_came_during_an_outage_of_ours_is_no_flood(
    acme: Tenant, platform: Publisher, run_listener: RunListener, settings: LazySettings
) -> None:
    settings.IIOT_DEVICE_MESSAGES_PER_SECOND = 1.0
    long_ago = timezone.now() - timedelta(seconds=100)
    ListenerState.objects.create(name="amqp", host="other", pid=1, state="connected", started_at=long_ago, heartbeat_at=long_ago)
    for number in range(60):
        platform.publish(untimed(number))
    with run_listener():
        wait_until(lambda: platform.waiting() == 0)
        wait_until(lambda: len(values(acme)) == 60)
    with tenant_context(acme):
        assert not RejectedMessage.objects.exists()


def test_memories_are_kept_while_the_broker_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.amqp.listener.KEPT_SECONDS", 0)
    DeliveryWindow.objects.create(consumer="amqp/1/1", delivery_until=1, numbers=[1], digests=[1])
    listener = AmqpListener(parse_amqp_url("amqp://127.0.0.1:1"))
    listener._on_ready()
    listener._on_problem("gone")
    listener._prune()
    assert DeliveryWindow.objects.exists()

    listener._on_ready()
    listener._prune()
    assert not DeliveryWindow.objects.exists()


def test_the_content_type_names_the_format(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    with run_listener():
        platform.publish('[{"n": "temperature", "v": 1}]', content_type="application/senml+json")
        platform.publish(untimed(2), content_type="application/json; charset=utf-8", content_encoding="utf-8")
        platform.publish(untimed(3), content_type="application/octet-stream")
        wait_until(lambda: values(acme) == [1, 2, 3])


def test_nothing_is_acknowledged_before_it_is_committed(
    acme: Tenant, platform: Publisher, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def fail(**batch: Any) -> Any:
        attempts.append(len(batch["messages"]))
        raise OperationalError("the database is away")

    monkeypatch.setattr(writer, "process_messages", fail)
    with run_listener() as running:
        for number in (1, 2, 3):
            platform.publish(untimed(number))
        wait_until(lambda: len(attempts) > 1)
        assert values(acme) == []
        assert "away" in running.last_error
        monkeypatch.setattr(writer, "process_messages", process_messages)
        wait_until(lambda: len(values(acme)) == 3)
    with run_listener():  # all was acknowledged in the end: nothing comes again
        time.sleep(0.3)
    assert values(acme) == [1, 2, 3]


def test_a_listener_that_ends_before_it_could_store_leaves_the_messages_to_the_next(
    acme: Tenant, platform: Publisher, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DRAIN_SECONDS", 0.0)

    def fail(**_: Any) -> Any:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "process_messages", fail)
        with run_listener():
            for number in (1, 1, 3):  # equal messages are messages of their own
                platform.publish(untimed(number))
            time.sleep(0.2)
    with run_listener():
        wait_until(lambda: len(values(acme)) == 3)
    assert sorted(values(acme)) == [1, 1, 3]


def test_a_commit_whose_confirmation_got_lost_is_not_stored_again(
    acme: Tenant, platform: Publisher, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def commit_and_fail_once(**batch: Any) -> Any:
        is_first = not attempts
        # The first try never hears of its own commit.
        attempts.append(process_messages(**batch | ({"progress": Progress()} if is_first else {})))
        if is_first:
            raise OperationalError("server closed the connection unexpectedly")
        return attempts[-1]

    monkeypatch.setattr(writer, "process_messages", commit_and_fail_once)
    with run_listener():
        platform.publish(untimed(1))
        wait_until(lambda: len(attempts) == 2)
    assert (attempts[1].stored, attempts[1].duplicates) == (0, 1)
    assert values(acme) == [1]


def test_what_was_stored_but_not_acknowledged_comes_again_and_is_stored_once(
    acme: Tenant, platform: Publisher, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been killed between commit and acknowledgement, twice."""
    for count, expected in ((300, 300), (150, 450)):
        with monkeypatch.context() as patch, run_listener() as running:
            patch.setattr(running._consumer, "settle", lambda **_: None)
            for number in range(count):
                platform.publish(untimed(number % 7), message_id=str(number) if number % 3 == 0 else None)
            wait_until(lambda expected=expected: len(values(acme)) == expected)  # type: ignore[misc]  # bound at once
    with run_listener():
        platform.publish(untimed(99))
        wait_until(lambda: 99 in values(acme))
        wait_until(lambda: not DeliveryWindow.objects.exists())
    assert len(values(acme)) == 451
    wait_until(lambda: platform.waiting() == 0)


def test_bad_messages_do_not_stop_it_and_become_dead_letters(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    bad = [b"", b"\x00\xff", b"{", b"[" * 5000, b'{"temperature": "hot"}', b'{"a": 1, "a": 2}', b'{"a": "' + b"x" * 300_000 + b'"}']
    with run_listener():
        for payload in bad:
            platform.publish(payload)
        platform.publish(untimed(1), key="nobody.pump-7.telemetry")
        platform.publish(untimed(1), key="..telemetry")
        platform.publish(untimed(7))
        wait_until(lambda: values(acme) == [7])
        wait_until(lambda: platform.waiting(DEAD_QUEUE) == len(bad) + 2)
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == len(bad)
        assert (list_broken_entries(), list_day_differences()) == ([], [])
    assert [(row.listener, row.messages) for row in UnroutedCount.objects.all()] == [("amqp", 2)]
    wait_until(lambda: platform.waiting() == 0)


def nested(depth: int) -> bytes:
    table = b""
    for _ in range(depth):
        table = b"\x01nF" + struct.pack(">I", len(table)) + table
    return table


# RabbitMQ passes them on and pika cannot read them: a time beyond the year 9999, a table deeper than Python's stack.
HEADERS_NO_LIBRARY_READS = [b"\x01tT" + b"\xff" * 8, nested(2_000)]


@pytest.mark.parametrize("table", HEADERS_NO_LIBRARY_READS, ids=["time", "depth"])
def test_headers_that_cannot_be_read_do_not_stop_it(
    acme: Tenant, platform: Publisher, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch, table: bytes
) -> None:
    def encode(pieces: list[bytes], _table: Any) -> int:
        pieces.append(struct.pack(">I", len(table)) + table)
        return 4 + len(table)

    with run_listener():
        with monkeypatch.context() as patch:
            patch.setattr("pika.data.encode_table", encode)
            platform.publish(untimed(1), headers={"x": 1})
        platform.publish(untimed(2))
        wait_until(lambda: values(acme) == [1, 2])


def test_a_message_from_a_devices_own_queue_has_no_sender(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    """A device may let its queue drop messages into our exchange, under any key."""
    arguments = {"x-dead-letter-exchange": "iiot.telemetry", "x-dead-letter-routing-key": "acme.pump-7.telemetry", "x-message-ttl": 0}
    platform.channel.queue_declare("iiot.commands.acme.pump-9", exclusive=True, arguments=arguments)
    platform.channel.queue_bind("iiot.commands.acme.pump-9", "iiot.commands", "acme.pump-9.commands")
    with run_listener():
        platform.channel.basic_publish("iiot.commands", "acme.pump-9.commands", untimed(666).encode())
        wait_until(lambda: platform.waiting(DEAD_QUEUE) == 1)
        platform.publish(untimed(2))
        wait_until(lambda: values(acme) == [2])
    assert UnroutedCount.objects.get().messages == 1


def test_a_deleted_queue_is_made_again(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    with run_listener() as running:
        platform.publish(untimed(1))
        wait_until(lambda: values(acme) == [1])
        platform.channel.queue_delete(TELEMETRY_QUEUE)
        wait_until(lambda: "deleted" in running.last_error)
        wait_until(lambda: running._core._state == "connected")
        platform.publish(untimed(2))
        wait_until(lambda: values(acme) == [1, 2])


def test_many_messages_are_acknowledged_in_ranges(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    now = timezone.now()
    for number in range(500):
        platform.publish(timed(number, now))
    with run_listener() as running:
        acks: list[int] = []
        settle = running._consumer.settle
        running._consumer.settle = lambda **plan: (acks.append(plan["until"]), settle(**plan))  # type: ignore[method-assign,assignment,func-returns-value]
        wait_until(lambda: len(values(acme)) == 500)
        assert not DeliveryWindow.objects.exists()
    assert len(acks) < 50
    wait_until(lambda: platform.waiting() == 0)
