"""What the web process keeps beside its requests, as every listener does: a thread that hands on, one that follows changes.

Both begin with the server. Without them, as in tests and commands, readings are handed on before their request is answered,
and what is looked up is kept for seconds only.
"""

from protocols.handoff import Committed, HandOffThread, hand_on_now
from protocols.invalidation import ChangeFollower

STOP_SECONDS = 5.0


class WebDoor:
    """One for the process."""

    def __init__(self) -> None:
        self._threads: tuple[HandOffThread, ChangeFollower] | None = None

    def open(self) -> None:
        """Start the threads; they end with the process, or with `close`."""
        if self._threads is None:
            hand_off, changes = self._threads = HandOffThread(), ChangeFollower()
            hand_off.start()
            changes.start()

    def close(self) -> None:
        """Hand on what waits, and end the threads."""
        threads, self._threads = self._threads, None
        if threads is not None:
            hand_off, changes = threads
            hand_off.stop(timeout_seconds=STOP_SECONDS)
            changes.stop()

    def hand_on(self, batch: Committed) -> None:
        """Hand on what is committed: later, if somebody is there to do it."""
        if self._threads is None:
            hand_on_now(batch)
        else:
            self._threads[0].put(batch)


web_door = WebDoor()
