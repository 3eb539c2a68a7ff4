"""Lets the loop that reads the sockets wait until what it took in is committed: only then a notification is acknowledged.

OPC 10000-4 §5.14.5: a server keeps a notification for Republish until the client acknowledges its sequence number.
"""

import asyncio
from collections.abc import Sequence
from threading import Lock

from protocols.types import RawMessage


class Commits:
    """Messages under way, each with the future that waits for it and its neighbours."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[int, tuple[RawMessage, asyncio.Future[None]]] = {}  # by identity; holding the message keeps it unique
        self._left: dict[asyncio.Future[None], int] = {}

    def expect(self, messages: Sequence[RawMessage]) -> "asyncio.Future[None]":
        """Return a future of the running loop that is done once all of these are acknowledged."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._left[future] = len(messages)
            for message in messages:
                self._waiting[id(message)] = (message, future)
        return future

    def forget(self, messages: Sequence[RawMessage]) -> None:
        """Wait no longer for messages that were not taken in, or whose reader is gone."""
        with self._lock:
            for message in messages:
                if entry := self._waiting.pop(id(message), None):
                    self._left.pop(entry[1], None)

    def acknowledge(self, batch: Sequence[RawMessage]) -> None:
        """Say that these are committed; called from the main thread."""
        with self._lock:
            entries = [entry for message in batch if (entry := self._waiting.pop(id(message), None))]
            done = [future for _, future in entries if self._count_down(future)]
        for future in done:
            future.get_loop().call_soon_threadsafe(_finish, future)

    def _count_down(self, future: "asyncio.Future[None]") -> bool:
        left = self._left.get(future, 0) - 1
        if left > 0:
            self._left[future] = left
            return False
        return self._left.pop(future, None) is not None


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
