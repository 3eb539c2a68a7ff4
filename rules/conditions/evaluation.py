"""One reading against one condition: what changes. Event time and quality decide, not the order of arrival."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rules.conditions.parsing import Condition

BAD_QUALITY = 2

Change = Literal["trigger", "resolve"]


@dataclass(frozen=True, slots=True)
class SeriesState:
    """What a rule knows about one series. `last_ts` is None before the first evaluation."""

    is_firing: bool = False
    last_ts: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the series; `quality` 0 good, 1 uncertain, 2 bad."""

    ts: datetime
    value: float
    quality: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The state afterwards, and the change if there was one."""

    state: SeriesState
    change: Change | None = None


def evaluate(condition: Condition, state: SeriesState, sample: Sample) -> Decision:
    """Decide about a reading; only changes of the state are changes.

    A reading not newer than the newest one evaluated, and one of bad quality, decides nothing and moves nothing.
    An uncertain one counts: a value outside of the plausible range is uncertain, and often the very thing to warn of.
    """
    is_late = state.last_ts is not None and sample.ts <= state.last_ts
    if is_late or sample.quality >= BAD_QUALITY:
        return Decision(state)
    is_met = condition.is_met(sample.value, was_met=state.is_firing)
    after = SeriesState(is_met, sample.ts)
    if is_met == state.is_firing:
        return Decision(after)
    return Decision(after, "trigger" if is_met else "resolve")
