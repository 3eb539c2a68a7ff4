"""What two runs of the platform's watch say about the time between them. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.status import Gap

PULSE_LIMIT = timedelta(seconds=30)
CLOCK_LIMIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Pulse:
    """One run: `at` by the database's clock, `monotonic_seconds` by a clock of `host` that nobody can set."""

    at: datetime
    host: str
    monotonic_seconds: float


@dataclass(frozen=True, slots=True)
class Interval:
    """The time between two runs. `clock_set` is by how much the clock jumped in it; `gap` is what counts as nobody's silence."""

    gap: Gap | None
    reason: str
    clock_set: timedelta


def judge_interval(before: Pulse, after: Pulse) -> Interval:
    """Tell whether the platform was away, or the clock set, between two runs.

    A clock that was set ahead, or a machine that slept, makes every device look silent: all of the interval is a gap.
    A clock that was set back makes no device look silent.
    """
    elapsed = after.at - before.at
    clock_set = timedelta(0)
    if before.host == after.host:
        clock_set = elapsed - timedelta(seconds=after.monotonic_seconds - before.monotonic_seconds)
        if abs(clock_set) <= CLOCK_LIMIT:
            clock_set = timedelta(0)
    if clock_set > timedelta(0):
        return Interval(Gap(before.at, after.at), "clock set ahead", clock_set)
    if elapsed > PULSE_LIMIT:
        return Interval(Gap(before.at, after.at), "platform away", clock_set)
    return Interval(None, "", clock_set)
