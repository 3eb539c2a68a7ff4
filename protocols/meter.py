"""What a listener measures of itself between two heartbeats. Pure: the time is a parameter."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

KEPT_BATCHES = 500
KEPT_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Load:
    """How much a listener has to do, and how quickly it does it. Latency is from receipt to commit, of the oldest in a batch."""

    bytes: int = 0
    messages_per_second: float = 0.0
    bytes_per_second: float = 0.0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    buffer_length: int = 0
    buffer_fill: float = 0.0
    connections: int | None = None
    errors: tuple[tuple[datetime, str], ...] = ()
    cache_hits: int = 0
    cache_misses: int = 0


class Meter:
    """Counts since the start, and of the last batches how long they took."""

    def __init__(self) -> None:
        self.messages = 0
        self.rejected = 0
        self.bytes = 0
        self._latencies: deque[float] = deque(maxlen=KEPT_BATCHES)
        self._errors: deque[tuple[datetime, str]] = deque(maxlen=KEPT_ERRORS)
        self._before: tuple[float, int, int] | None = None

    @property
    def last_error(self) -> str:
        """What went wrong last, "" where nothing has."""
        return self._errors[-1][1] if self._errors else ""

    def note_batch(self, *, messages: int, rejected: int, size: int, seconds: float) -> None:
        """Count a batch that is committed."""
        self.messages += messages
        self.rejected += rejected
        self.bytes += size
        self._latencies.append(seconds)

    def note_error(self, text: str, now: datetime) -> None:
        """Keep an error; the same one again only moves its time."""
        if text == self.last_error:
            self._errors.pop()
        self._errors.append((now, text))

    def errors(self) -> tuple[tuple[datetime, str], ...]:
        """Return the last errors, the newest last."""
        return tuple(self._errors)

    def rates(self, now_seconds: float) -> tuple[float, float]:
        """Return messages and bytes per second since the last call."""
        before, self._before = self._before, (now_seconds, self.messages, self.bytes)
        if before is None or now_seconds <= before[0]:
            return 0.0, 0.0
        span = now_seconds - before[0]
        return (self.messages - before[1]) / span, (self.bytes - before[2]) / span

    def latencies_ms(self) -> tuple[float, float] | None:
        """Return the median and the 99th percentile of the last batches; None before the first."""
        ordered = sorted(self._latencies)
        return (percentile(ordered, 0.5) * 1000, percentile(ordered, 0.99) * 1000) if ordered else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that this share of an ordered series does not exceed (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
