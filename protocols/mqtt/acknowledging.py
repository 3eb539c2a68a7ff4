"""Acknowledges messages in the order in which they came (MQTT-4.6.0-2), also those that are not stored and so done at once."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from protocols.types import Delivery


class PubackOrder:
    """Sends PUBACKs by `send`. One thread counts deliveries and says what is ignored, another what is committed."""

    def __init__(self, send: Callable[[Sequence[int]], None]) -> None:
        self._send = send
        self._ignored: deque[tuple[int, int]] = deque()  # count of the delivery before it, packet id
        self._since = 0
        self._done = 0
        self._lock = threading.Lock()

    def begin_connection(self, *, count: int) -> None:
        """Forget what former connections brought, `count` deliveries: it comes again on this one and is acknowledged then."""
        with self._lock:
            self._ignored.clear()
            self._since = count
            self._done = max(self._done, count)

    def ignore(self, packet_id: int, *, count: int) -> None:
        """Acknowledge a message that is not stored, once the `count` deliveries before it are."""
        with self._lock:
            if count > self._done:
                self._ignored.append((count, packet_id))
            else:
                self._send([packet_id])

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what is committed, in order of its counts."""
        with self._lock:
            current = [delivery for delivery in deliveries if delivery.count > self._since]
            if not current:
                return
            self._done = current[-1].count
            self._send(self._with_ignored(current) if self._ignored else [delivery.packet_id for delivery in current])

    def _with_ignored(self, deliveries: Sequence[Delivery]) -> list[int]:
        packet_ids = []
        for delivery in deliveries:
            packet_ids += self._take_ignored(before=delivery.count)
            packet_ids.append(delivery.packet_id)
        return packet_ids + self._take_ignored(before=self._done + 1)

    def _take_ignored(self, *, before: int) -> list[int]:
        packet_ids = []
        while self._ignored and self._ignored[0][0] < before:
            packet_ids.append(self._ignored.popleft()[1])
        return packet_ids
