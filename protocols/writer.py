"""The loop between a listener's buffer and the pipeline: store a batch, then acknowledge it, or try again."""

import logging
import time
from collections.abc import Callable, Sequence

from django.db import connection
from django.utils import timezone
from msgspec.structs import replace

from protocols.buffer import BatchBuffer
from protocols.credits import Limits
from protocols.handoff import Committed
from protocols.holding import Holding
from protocols.meter import Meter
from protocols.pipeline import process_messages
from protocols.progress import Progress
from protocols.types import BatchOutcome, RawMessage

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
FIRST_RETRY_SECONDS = 0.2
LAST_RETRY_SECONDS = 5.0
DRAIN_SECONDS = 15.0


class BatchWriter:
    """Runs in the main thread of a listener until it is told to stop and the buffer is empty."""

    def __init__(
        self,
        *,
        buffer: BatchBuffer,
        acknowledge: Callable[[Sequence[RawMessage], BatchOutcome], None],
        hand_on: Callable[[Committed], None],
        on_turn: Callable[[], None],
        limits: Limits,
    ) -> None:
        self._buffer = buffer
        self._acknowledge = acknowledge
        self._hand_on = hand_on
        self._on_turn = on_turn
        self._limits = limits
        self._drain_until: float | None = None
        self.meter = Meter()
        self._holding = Holding(report=lambda error: self.meter.note_error(error, timezone.now()))

    def request_stop(self) -> None:
        """Take nothing more in and end once the buffer is empty. Only sets a flag, so a signal handler may call it."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + DRAIN_SECONDS

    def run(self) -> None:
        """Store batches until told to stop. What could not be stored by then stays unacknowledged at the broker."""
        is_done = False
        while not is_done:
            is_stopping = self._drain_until is not None
            if is_stopping:
                self._buffer.close()
            batch = self._buffer.take(timeout_seconds=POLL_SECONDS)
            started = time.monotonic()
            is_done = not self._store(batch) if batch else is_stopping
            self._buffer.pace(store_seconds=time.monotonic() - started, tenants=len({message.tenant for message in batch}))
            self._on_turn()

    def _store(self, batch: Sequence[RawMessage]) -> bool:
        """Try until the batch is committed, then acknowledge it. False when time is up."""
        delay = FIRST_RETRY_SECONDS
        uncovered = self._limits.find_uncovered(batch, time.monotonic())
        failed_at: float | None = None
        progress = Progress()
        while True:
            try:
                outcome = process_messages(
                    messages=batch,
                    now=timezone.now(),
                    hand_on=self._hand_on,
                    uncovered=uncovered,
                    progress=progress,
                    holding=self._holding,
                )
            except Exception as exc:  # noqa: BLE001  # the listener's loop: whatever it was, nothing is acknowledged and nothing is lost
                failed_at = failed_at or time.monotonic()
                error = f"{type(exc).__name__}: {exc}"[:500]
                self.meter.note_error(error, timezone.now())
                logger.warning("a batch of %d messages was not stored, next try in %.1f s: %s", len(batch), delay, error)
                connection.close()
                # The commit may have succeeded before its confirmation was lost, so it may be there already.
                batch = [_as_retried(message) for message in batch]
                if not self._sleep(delay):
                    return False
                delay = min(2 * delay, LAST_RETRY_SECONDS)
            else:
                if failed_at is not None:
                    self._limits.forgive(time.monotonic() - failed_at, time.monotonic())
                self.meter.note_batch(
                    messages=len(batch),
                    rejected=len({refusal.index for refusal in outcome.refusals}),
                    size=sum([len(message.payload) for message in batch]),
                    seconds=(timezone.now() - batch[0].received_at).total_seconds(),
                )
                self._acknowledge(batch, outcome)
                return True

    def _sleep(self, seconds: float) -> bool:
        """Wait; False when the listener is to stop and its time is up."""
        wake_at = time.monotonic() + seconds
        while (left := wake_at - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))
        return self._drain_until is None or time.monotonic() < self._drain_until


def _as_retried(message: RawMessage) -> RawMessage:
    if message.delivery is None:
        return message
    return replace(message, delivery=replace(message.delivery, is_retry=True))
