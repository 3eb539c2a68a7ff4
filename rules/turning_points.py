"""Which readings may change what a rule thinks of their series: the others need not be evaluated at once.

A guess by what this process has seen, which only decides how soon a series is evaluated. It may be wrong after a restart,
a changed rule, or where a device reports through two processes; every series is evaluated within seconds all the same.
"""

from datetime import datetime

import msgspec
from cachetools import LRUCache

from rules.conditions.parsing import Condition

MAX_SERIES = 200_000


class _Known(msgspec.Struct, frozen=True, gc=False):
    """The newest reading of a series: its time, and which of the conditions it meets. None is not known."""

    ts: datetime
    conditions: tuple[Condition, ...]
    verdicts: tuple[bool | None, ...]


class TurningPoints:
    """Remembers of each series on which side of its conditions the newest reading was. For one thread."""

    def __init__(self, *, max_series: int = MAX_SERIES) -> None:
        self._known: LRUCache[tuple[str, int, int], _Known] = LRUCache(maxsize=max_series)

    def may_turn(self, series: tuple[str, int, int], conditions: tuple[Condition, ...], ts: datetime, value: float) -> bool:
        """Tell whether a reading of the series (schema, device id, metric id) may change the state of one of the rules."""
        known = self._known.get(series)
        if known is None or known.conditions != conditions:
            verdicts = tuple(_judge(condition, value, None) for condition in conditions)
            self._known[series] = _Known(ts, conditions, verdicts)
            return True
        if ts <= known.ts:
            return False  # a rule goes by the newest reading, too
        verdicts = tuple(_judge(condition, value, was) for condition, was in zip(conditions, known.verdicts, strict=True))
        self._known[series] = _Known(ts, conditions, verdicts)
        return verdicts != known.verdicts


def _judge(condition: Condition, value: float, was_met: bool | None) -> bool | None:
    """Return whether the value meets the condition; None where that depends on what was before, which nobody knows."""
    if was_met is not None:
        return condition.is_met(value, was_met=was_met)
    met = condition.is_met(value, was_met=False)
    return met if condition.is_met(value, was_met=True) == met else None
