"""How many messages a device and a tenant may send: a flood from one is cut off before it takes the place of the others.

A token bucket each: `rate` messages a second in the long run, `burst` at once. Charged by the batch, so that it costs
next to nothing for each message. Pure: the time is a parameter, in seconds of a clock that only goes forward.
"""

from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence

from cachetools import LRUCache

from protocols.types import RawMessage

MAX_SENDERS = 100_000
LAPSE_SECONDS = 60.0  # and as long again as the outage: a backlog comes in about as fast as it grew


class Credits:
    """The buckets of all who send; `rate` 0 is no limit."""

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = max(burst, rate)
        self._left: LRUCache[Hashable, tuple[float, float, float]] = LRUCache(maxsize=MAX_SENDERS)
        self._forgiven_seconds = 0.0
        self._lapsed_seconds = 0.0
        self._lapses: deque[tuple[float, float]] = deque()

    def forgive(self, seconds: float, now: float) -> None:
        """Give everybody, heard before or not, the credit of so many seconds on top, however much they have saved up; it lapses."""
        if seconds > 0:
            self._forgiven_seconds += seconds
            self._lapses.append((now + LAPSE_SECONDS + seconds, seconds))

    def charge(self, counts: Mapping[Hashable, int], now: float) -> dict[Hashable, int]:
        """Take credit for so many messages of each sender; return how many of whose are not covered."""
        if not self._rate:
            return {}
        self._lapse(now)
        most = self._burst + (self._forgiven_seconds - self._lapsed_seconds) * self._rate
        uncovered: dict[Hashable, int] = {}
        for sender, count in counts.items():
            left, since, forgiven = self._left.get(sender, (self._burst, now, 0.0))
            left = max(left, min(self._burst, left + (now - since) * self._rate))
            left = min(most, left + (self._forgiven_seconds - max(forgiven, self._lapsed_seconds)) * self._rate)
            covered = min(count, int(left))
            self._left[sender] = (left - covered, now, self._forgiven_seconds)
            if covered < count:
                uncovered[sender] = count - covered
        return uncovered

    def _lapse(self, now: float) -> None:
        """Take back what was given for outages that are over for long; a short one after a long one ends with that."""
        while self._lapses and self._lapses[0][0] <= now:
            self._lapsed_seconds += self._lapses.popleft()[1]


class Limits:
    """What one listener lets through: credits of devices, and of tenants."""

    def __init__(self, *, devices: Credits, tenants: Credits) -> None:
        self._devices = devices
        self._tenants = tenants

    def forgive(self, seconds: float, now: float) -> None:
        """Make up for a time until now in which nothing could be taken in: what was sent meanwhile comes all at once."""
        self._devices.forgive(seconds, now)
        self._tenants.forgive(seconds, now)

    def find_uncovered(self, batch: Sequence[RawMessage], now: float) -> frozenset[int]:
        """Return the indexes of messages beyond the credit of their device or tenant: the last ones of each."""
        over = self._devices.charge(Counter([(message.tenant, message.device) for message in batch]), now)
        over_tenants = self._tenants.charge(Counter([message.tenant for message in batch]), now)
        if not over and not over_tenants:
            return frozenset()
        found: set[int] = set()
        for index in range(len(batch) - 1, -1, -1):
            message = batch[index]
            for left, sender in ((over, (message.tenant, message.device)), (over_tenants, message.tenant)):
                if left.get(sender):
                    left[sender] -= 1
                    found.add(index)
        return frozenset(found)
