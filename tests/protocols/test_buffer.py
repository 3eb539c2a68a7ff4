"""The buffer between socket and database: batches by size or time, bounded, drained at the end."""

import threading
import time
from datetime import UTC, datetime

from protocols.buffer import BatchBuffer
from protocols.types import RawMessage
from tests.waiting import WAIT_SECONDS

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def message(number: int, size: int = 2) -> RawMessage:
    return RawMessage("acme", "pump-7", str(number).encode().rjust(size), NOW, "mqtt", "t/acme/pump-7/telemetry")


def numbers(batch: list[RawMessage]) -> list[int]:
    return [int(m.payload) for m in batch]


def test_a_full_batch_is_given_out_at_once_and_in_order() -> None:
    buffer = BatchBuffer(batch_size=3, batch_seconds=60)
    for n in range(4):
        buffer.put(message(n))
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [0, 1, 2]
    assert len(buffer) == 1


def test_a_lonely_message_waits_for_company_only_as_long_as_allowed() -> None:
    buffer = BatchBuffer(batch_size=100, batch_seconds=0.01)
    buffer.put(message(1))
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [1]


def test_nothing_within_the_time_is_an_empty_batch() -> None:
    assert BatchBuffer().take(timeout_seconds=0.01) == []


def test_a_full_buffer_makes_the_reader_wait_until_a_batch_is_taken() -> None:
    buffer = BatchBuffer(batch_size=2, capacity=2)
    buffer.put(message(0))
    buffer.put(message(1))
    added = threading.Event()

    def read_on() -> None:
        buffer.put(message(2))
        added.set()

    reader = threading.Thread(target=read_on, daemon=True)
    reader.start()
    assert not added.wait(0.05)
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [0, 1]
    assert added.wait(WAIT_SECONDS)
    reader.join(WAIT_SECONDS)


def test_large_messages_fill_it_by_their_bytes() -> None:
    buffer = BatchBuffer(batch_size=100, batch_seconds=60, capacity=100, capacity_bytes=1_000)
    buffer.put(message(0, size=1_500))
    started = time.monotonic()
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [0]  # does not wait for a batch that cannot grow
    assert time.monotonic() - started < 30
    assert buffer.put(message(1))


def test_a_batch_of_large_messages_ends_by_their_bytes() -> None:
    buffer = BatchBuffer(batch_size=100, batch_seconds=60, batch_bytes=1_000)
    for n in range(5):
        buffer.put(message(n, size=400))
    buffer.put(message(5, size=1_500))
    started = time.monotonic()
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [0, 1]
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [2, 3]
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [4]
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [5]
    assert time.monotonic() - started < 30
    assert len(buffer) == 0


def test_closing_lets_go_of_the_reader_and_of_what_is_inside() -> None:
    buffer = BatchBuffer(batch_size=100, batch_seconds=60)
    buffer.put(message(0))
    buffer.close()
    assert not buffer.put(message(1))
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [0]
    assert buffer.take(timeout_seconds=WAIT_SECONDS) == []


def test_what_is_offered_to_a_full_buffer_is_turned_away_at_once() -> None:
    buffer = BatchBuffer(batch_size=1, capacity=1)
    assert buffer.offer(message(1))
    assert not buffer.offer(message(1))
    buffer.take(timeout_seconds=0)
    assert buffer.offer(message(1))


def test_what_is_offered_to_a_closed_buffer_is_turned_away() -> None:
    buffer = BatchBuffer()
    buffer.close()
    assert not buffer.offer(message(1))


def test_a_batch_gathers_longer_while_storing_takes_long_and_not_for_ever() -> None:
    buffer = BatchBuffer(batch_size=100, batch_seconds=0.0, busy_batch_seconds=0.2)
    for store_seconds, at_least, at_most in ((0.05, 0.1, 0.19), (60.0, 0.2, 10.0), (0.0, 0.0, 0.09)):
        buffer.pace(store_seconds=store_seconds)
        buffer.put(message(1))
        started = time.monotonic()
        buffer.take(timeout_seconds=WAIT_SECONDS)
        assert at_least * 0.9 <= time.monotonic() - started
        assert buffer._age_limit_seconds <= at_most


def test_batches_of_many_tenants_gather_longer_still() -> None:
    buffer = BatchBuffer(batch_seconds=0.05, busy_batch_seconds=0.25)
    for tenants, bound in ((1, 0.25), (25, 0.25), (50, 0.5), (100, 1.0), (1_000, 1.0)):
        buffer.pace(store_seconds=60, tenants=tenants)
        assert buffer._age_limit_seconds == bound
        buffer.pace(store_seconds=0, tenants=tenants)
        assert buffer._age_limit_seconds == 0.05


def test_a_batch_that_is_complete_waits_for_nothing() -> None:
    buffer = BatchBuffer(batch_size=1, batch_seconds=0.05, busy_batch_seconds=60)
    buffer.pace(store_seconds=60)
    buffer.put(message(1))
    started = time.monotonic()
    assert numbers(buffer.take(timeout_seconds=WAIT_SECONDS)) == [1]
    assert time.monotonic() - started < 30
