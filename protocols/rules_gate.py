"""How often rules are told that their series have something new. Pure."""

from collections.abc import Callable

from rules.types import SeriesSince

PAUSE_SECONDS = 0.2
TENANTS_AT_FULL_RATE = 10


class RulesGate:
    """Tells the rules of a tenant at once, but only so often: on a busy line many batches become one task.

    An evaluation costs by the series, however many readings of it are new.
    """

    def __init__(self, *, tell: Callable[[str, SeriesSince], None], pause_seconds: float = PAUSE_SECONDS) -> None:
        self._tell = tell
        self._pause_seconds = pause_seconds
        self._waiting: dict[str, SeriesSince] = {}
        self._open_at: dict[str, float] = {}

    def add(self, schema: str, since: SeriesSince) -> None:
        """Take in series; the oldest time of each counts."""
        waiting = self._waiting.setdefault(schema, {}) if since else {}
        for pair, ts in since.items():
            waiting[pair] = min(ts, waiting.get(pair, ts))

    def tell_due(self, now_seconds: float) -> None:
        """Tell the tenants whose pause is over; `now_seconds` is monotonic."""
        # With many busy tenants each waits longer: the tasks a second stay about the same.
        pause = self._pause_seconds * max(1.0, len(self._waiting) / TENANTS_AT_FULL_RATE)
        for schema in [schema for schema in self._waiting if self._open_at.get(schema, 0.0) <= now_seconds]:
            self._open_at[schema] = now_seconds + pause
            self._tell(schema, self._waiting.pop(schema))

    def tell_all(self) -> None:
        """Tell all that wait, at the end."""
        while self._waiting:
            self._tell(*self._waiting.popitem())

    def wait_seconds(self, now_seconds: float) -> float | None:
        """Return how long until someone is due; None where nobody waits."""
        if not self._waiting:
            return None
        return max(0.0, min(self._open_at.get(schema, 0.0) for schema in self._waiting) - now_seconds)
