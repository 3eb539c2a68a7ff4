"""What every listener process is made of: a bounded buffer, the writer, the hand-off, a heartbeat.

A listener reads its socket in a thread of its own and calls `put` (waits while the buffer is full) or `offer` (says no
instead). The main thread, in `run`, stores batches and then calls `acknowledge` with what became of them.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from protocols.buffer import BatchBuffer
from protocols.credits import Credits, Limits
from protocols.handoff import HandOffThread
from protocols.invalidation import ChangeFollower
from protocols.meter import Load
from protocols.resolution import count_lookups
from protocols.selectors import seconds_since_heartbeat
from protocols.self_report import HEARTBEAT_SECONDS, SelfReport
from protocols.types import BatchOutcome, RawMessage
from protocols.writer import BatchWriter

logger = logging.getLogger(__name__)

START_RETRY_SECONDS = 2.0
BATCH_SECONDS = 0.05
BUSY_BATCH_SECONDS = 0.25  # for protocols whose devices do not wait for the answer before they send on
BURST_SECONDS = 20  # what a sender has saved up at most, as after an outage of its own

Acknowledge = Callable[[Sequence[RawMessage], BatchOutcome], None]


def do_nothing() -> None:
    """Serve as the default of a hook."""


def make_limits() -> Limits:
    """Return the credits that the settings give."""
    rates = (settings.IIOT_DEVICE_MESSAGES_PER_SECOND, settings.IIOT_TENANT_MESSAGES_PER_SECOND)
    devices, tenants = (Credits(rate=rate, burst=rate * BURST_SECONDS) for rate in rates)
    return Limits(devices=devices, tenants=tenants)


class ListenerCore:
    """One listener's way from socket to database; `run` returns after `request_stop`, with what was taken in stored.

    `on_beat` runs with each heartbeat in the main thread and may use the database. `find_error` names a fault that
    lasts, shown before the last one that passed. `count_connections` tells how many there are, where that can be told.
    """

    def __init__(
        self,
        *,
        name: str,
        acknowledge: Acknowledge,
        batch_size: int = 2_000,
        busy_batch_seconds: float = BATCH_SECONDS,
        ready_file: Path | None = None,
        on_beat: Callable[[], None] = do_nothing,
        find_error: Callable[[], str] = str,
        count_connections: Callable[[], int | None] = do_nothing,
    ) -> None:
        self.name = name
        self.is_stopping = False
        self._state = "connecting"
        self._ready_file = ready_file
        self._on_beat = on_beat
        self._find_error = find_error
        self._count_connections = count_connections
        self._buffer = BatchBuffer(
            batch_size=batch_size,
            batch_seconds=BATCH_SECONDS,
            busy_batch_seconds=busy_batch_seconds,
            capacity=max(10_000, 4 * batch_size),
        )
        self._hand_off = HandOffThread()
        self._changes = ChangeFollower()
        self._limits = make_limits()
        self._disconnected_at: float | None = None
        self._writer = BatchWriter(
            buffer=self._buffer,
            acknowledge=acknowledge,
            hand_on=self._hand_off.put,
            on_turn=self._beat_when_due,
            limits=self._limits,
        )
        self._report = SelfReport(name)
        self._beat_at = 0.0

    # --- For the thread that reads the socket

    def put(self, message: RawMessage) -> bool:
        """Take a message in, waiting while the buffer is full. False once the listener stops: it was not taken."""
        return self._buffer.put(message)

    def put_all(self, messages: Sequence[RawMessage]) -> bool:
        """Take in messages that came together, as `put` does."""
        return self._buffer.put_all(messages)

    def offer(self, message: RawMessage) -> bool:
        """Take a message in if there is room. False: it was not taken, tell the sender to come again."""
        return self._buffer.offer(message)

    def mark_connected(self) -> None:
        """Say that messages can come in; the first time this makes the process ready."""
        if self._disconnected_at is not None:
            self._limits.forgive(time.monotonic() - self._disconnected_at, time.monotonic())
            self._disconnected_at = None
        self._state = "connected"
        if self._ready_file is not None:
            self._ready_file.touch()

    def mark_connecting(self, error: str) -> None:
        """Say that no messages can come in, and why."""
        if not self.is_stopping:
            self._disconnected_at = self._disconnected_at or time.monotonic()
            self._state = "connecting"
            self.report_error(error)

    def report_error(self, error: str) -> None:
        """Show an error on the listeners' page and in the log."""
        self._writer.meter.note_error(error, timezone.now())
        logger.warning("%s", error)

    @property
    def last_error(self) -> str:
        """What went wrong last."""
        return self._find_error() or self._writer.meter.last_error

    # --- For the main thread

    def request_stop(self) -> None:
        """Stop reading, store and acknowledge what was read, then end. Only sets flags: signal handlers call it."""
        self.is_stopping = True
        self._writer.request_stop()

    def wait_for_database(self, load: Callable[[], None] = do_nothing) -> bool:
        """Claim a number, and credit for the time since the last heartbeat, then `load`; try until it succeeds. False when told to stop."""
        while not self.is_stopping:
            try:
                away_seconds = seconds_since_heartbeat(name=self.name, now=timezone.now())
                load()
                self._report.claim_number()
            except (DatabaseError, InterfaceError) as exc:
                logger.warning("waiting for the database: %s", exc)
                connection.close()
                time.sleep(START_RETRY_SECONDS)
            else:
                self._limits.forgive(away_seconds, time.monotonic())
                return True
        return False

    def run(self, *, connect: Callable[[], None], disconnect: Callable[[], None]) -> None:
        """Connect, store until told to stop, then disconnect: by then all that can be acknowledged has been."""
        self._hand_off.start()
        self._changes.start()
        try:
            connect()
            self._writer.run()
        finally:
            self._state = "stopped"
            disconnect()
            self._hand_off.stop(timeout_seconds=5)
            self._changes.stop()
            self._beat()
            connection.close()

    def _beat_when_due(self) -> None:
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
            self._beat()

    def _beat(self) -> None:
        try:
            meter = self._writer.meter
            self._report.send(
                state=self._state, load=self._measure(), last_error=self.last_error, messages=meter.messages, rejected=meter.rejected
            )
            self._on_beat()
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("no heartbeat: %s", exc)
            connection.close()

    def _measure(self) -> Load:
        meter = self._writer.meter
        messages_per_second, bytes_per_second = meter.rates(time.monotonic())
        latencies = meter.latencies_ms()
        hits, misses = count_lookups()
        return Load(
            bytes=meter.bytes,
            messages_per_second=messages_per_second,
            bytes_per_second=bytes_per_second,
            latency_p50_ms=latencies[0] if latencies else None,
            latency_p99_ms=latencies[1] if latencies else None,
            buffer_length=len(self._buffer),
            buffer_fill=self._buffer.fill,
            connections=self._count_connections(),
            errors=meter.errors(),
            cache_hits=hits,
            cache_misses=misses,
        )
