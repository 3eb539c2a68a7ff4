"""How often rules are told that their series have something new. Pure."""

from collections.abc import Callable

from rules.types import SeriesSince

PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
TENANTS_AT_FULL_RATE = 10


class RulesGate:
    """Tells the rules of a tenant at once what is urgent, but only so often: on a busy line many batches become one task.

    What is not urgent waits for company, for `patience_seconds` at most. An evaluation costs by the task and the series,
    however many readings of it are new.
    """

    def __init__(
        self,
        *,
        tell: Callable[[str, SeriesSince], None],
        pause_seconds: float = PAUSE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._tell = tell
        self._pause_seconds = pause_seconds
        self._patience_seconds = patience_seconds
        self._waiting: dict[str, SeriesSince] = {}
        self._patient_until: dict[str, float] = {}
        self._urgent: set[str] = set()
        self._open_at: dict[str, float] = {}

    def add(self, schema: str, since: SeriesSince, *, is_urgent: bool, now_seconds: float) -> None:
        """Take in series; the oldest time of each counts. `now_seconds` is monotonic."""
        if not since:
            return
        waiting = self._waiting.setdefault(schema, {})
        for pair, ts in since.items():
            waiting[pair] = min(ts, waiting.get(pair, ts))
        self._patient_until.setdefault(schema, now_seconds + self._patience_seconds)
        if is_urgent:
            self._urgent.add(schema)

    def tell_due(self, now_seconds: float) -> None:
        """Tell the tenants whose pause is over, and those that have waited long enough."""
        # With many busy tenants each waits longer: the tasks a second stay about the same.
        pause = self._pause_seconds * max(1.0, len(self._urgent) / TENANTS_AT_FULL_RATE)
        for schema in [schema for schema in self._waiting if self._due_at(schema) <= now_seconds]:
            self._open_at[schema] = now_seconds + pause
            self._tell(schema, self._take(schema))

    def tell_all(self) -> None:
        """Tell all that wait, at the end."""
        for schema in list(self._waiting):
            self._tell(schema, self._take(schema))

    def wait_seconds(self, now_seconds: float) -> float | None:
        """Return how long until someone is due; None where nobody waits."""
        if not self._waiting:
            return None
        return max(0.0, min(self._due_at(schema) for schema in self._waiting) - now_seconds)

    def _due_at(self, schema: str) -> float:
        return self._open_at.get(schema, 0.0) if schema in self._urgent else self._patient_until[schema]

    def _take(self, schema: str) -> SeriesSince:
        self._urgent.discard(schema)
        self._patient_until.pop(schema, None)
        return self._waiting.pop(schema)
