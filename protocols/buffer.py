"""A bounded queue between a socket and the database that gives out batches by number, bytes or time.

How old a batch may get goes from `batch_seconds` up to `busy_batch_seconds`, by how long storing takes.

When it is full, `put` waits: the listener then stops reading from its socket and TCP slows the sender down.
"""

import time
from collections import deque
from collections.abc import Sequence
from threading import Condition

from protocols.types import RawMessage

TENANTS_AT_USUAL_PATIENCE = 25
MOST_PATIENCE = 4.0  # times the usual bound, for a hundred tenants or more


class BatchBuffer:
    """Messages in order of arrival, at most `capacity` of them and `capacity_bytes` of payload."""

    def __init__(
        self,
        *,
        batch_size: int = 2_000,
        batch_bytes: int = 2 * 1024 * 1024,
        batch_seconds: float = 0.05,
        busy_batch_seconds: float = 0.05,
        capacity: int = 10_000,
        capacity_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes  # decoded they take a hundred times as much
        self._batch_seconds = batch_seconds
        self._busy_batch_seconds = max(batch_seconds, busy_batch_seconds)
        self._age_limit_seconds = batch_seconds
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._messages: deque[tuple[float, RawMessage]] = deque()
        self._bytes = 0
        self._is_closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def fill(self) -> float:
        """How full it is, from 0 to 1, by number or bytes, whichever is more."""
        return min(1.0, max(len(self._messages) / self._capacity, self._bytes / self._capacity_bytes))

    def put(self, message: RawMessage) -> bool:
        """Add a message, waiting while the buffer is full. False, and not added, once the buffer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._is_full())
            return self._append(message)

    def put_all(self, messages: Sequence[RawMessage]) -> bool:
        """Add messages that came together, waiting while the buffer is full. False, and none added, once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._is_full())
            if self._is_closed:
                return False
            was_empty = not self._messages
            now = time.monotonic()
            self._messages.extend([(now, message) for message in messages])
            self._bytes += sum([len(message.payload) for message in messages])
            if was_empty or self._is_batch_complete():
                self._changed.notify_all()
            return True

    def offer(self, message: RawMessage) -> bool:
        """Add a message without waiting. False, and not added, while the buffer is full and once it is closed."""
        with self._changed:
            return not self._is_full() and self._append(message)

    def take(self, *, timeout_seconds: float) -> list[RawMessage]:
        """Return the next batch: full, or as old as a batch may get. Empty when nothing came within the time, or at the end."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._messages or self._is_closed, timeout_seconds) or not self._messages:
                return []
            ripe_at = self._messages[0][0] + self._age_limit_seconds
            self._changed.wait_for(self._is_batch_complete, max(0.0, ripe_at - time.monotonic()))
            batch = self._pop_batch()
            self._changed.notify_all()
            return batch

    def pace(self, *, store_seconds: float, tenants: int = 1) -> None:
        """Let the next batch gather twice as long as the last one, of so many tenants, took to store, within the bounds.

        A batch costs by the tenant more than by the message: the busier the machine, the fewer and larger batches are. With
        many tenants they would still be small: each waits for the last one only, which costs as much whatever it holds.
        """
        bound = self._busy_batch_seconds * min(MOST_PATIENCE, max(1.0, tenants / TENANTS_AT_USUAL_PATIENCE))
        self._age_limit_seconds = min(bound, max(self._batch_seconds, 2 * store_seconds))

    def close(self) -> None:
        """Take nothing more in; what is inside can still be taken out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _append(self, message: RawMessage) -> bool:
        if self._is_closed:
            return False
        self._messages.append((time.monotonic(), message))
        self._bytes += len(message.payload)
        if len(self._messages) == 1 or self._is_batch_complete():
            self._changed.notify_all()
        return True

    def _pop_batch(self) -> list[RawMessage]:
        """Return as many messages as a batch may have, at least one however large it is."""
        batch: list[RawMessage] = []
        size = 0
        while self._messages and len(batch) < self._batch_size:
            size += len(self._messages[0][1].payload)
            if batch and size > self._batch_bytes:
                break
            batch.append(self._messages.popleft()[1])
        self._bytes -= sum(len(message.payload) for message in batch)
        return batch

    def _is_full(self) -> bool:
        return len(self._messages) >= self._capacity or self._bytes >= self._capacity_bytes

    def _is_batch_complete(self) -> bool:
        return self._is_closed or self._is_full() or len(self._messages) >= self._batch_size or self._bytes >= self._batch_bytes
