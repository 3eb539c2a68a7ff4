"""Where a query for buckets finds what it needs: hours, minutes, or the readings themselves. And which span to fold next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from telemetry.buckets import EPOCH

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FOLD_AT_ONCE = timedelta(hours=1)


class Unit(StrEnum):
    """What is read: a row per reading, per minute or per hour."""

    READING = "reading"
    MINUTE = "minute"
    HOUR = "hour"


WIDTHS = {Unit.HOUR: HOUR, Unit.MINUTE: MINUTE}


@dataclass(frozen=True, slots=True)
class Source:
    """Read [start, end) from the rows of `unit`."""

    unit: Unit
    start: datetime
    end: datetime


def coarsest_unit(edges: Sequence[datetime]) -> Unit:
    """Return the longest unit of which every bucket between these edges is made of whole ones."""
    for unit, width in WIDTHS.items():
        if not any((edge - EPOCH) % width for edge in edges):
            return unit
    return Unit.READING


def plan_sources(*, start: datetime, end: datetime, folded_until: datetime, coarsest: Unit) -> list[Source]:
    """Cover [start, end) once: whole units of the coarsest kind, finer ones where it begins and ends, readings where nothing is folded."""
    if start >= end:
        return []
    width = WIDTHS.get(coarsest)
    if width is None:
        return [Source(Unit.READING, start, end)]
    first, last = ceil(start, width), floor(min(end, folded_until), width)
    finer = Unit.MINUTE if coarsest == Unit.HOUR else Unit.READING
    if first >= last:
        return plan_sources(start=start, end=end, folded_until=folded_until, coarsest=finer)
    before = plan_sources(start=start, end=first, folded_until=folded_until, coarsest=finer)
    after = plan_sources(start=last, end=end, folded_until=folded_until, coarsest=finer)
    return [*before, Source(coarsest, first, last), *after]


def floor(moment: datetime, width: timedelta) -> datetime:
    """Return the last multiple of `width` since 1970 that is not after `moment`."""
    return EPOCH + (moment - EPOCH) // width * width


def ceil(moment: datetime, width: timedelta) -> datetime:
    """Return the first multiple of `width` since 1970 that is not before `moment`."""
    return EPOCH - (EPOCH - moment) // width * width


def next_fold(*, folded_until: datetime, closed_until: datetime, days: Collection[date]) -> tuple[datetime, datetime]:
    """Return the next span to fold, an hour at most. Days without a partition have no readings and are skipped."""
    start = folded_until
    if start.date() not in days:
        later = min((day for day in days if day > start.date()), default=None)
        begin = datetime.combine(later, time(), UTC) if later else closed_until
        start = min(max(begin, start), closed_until)
    return start, min(floor(start, FOLD_AT_ONCE) + FOLD_AT_ONCE, closed_until)


def bin_sql(width: timedelta, column: str) -> str:
    """Return the SQL of the multiple of `width` that a time lies in. date_trunc with a zone takes several times as long."""
    return f"date_bin('{width.total_seconds():.0f} seconds', {column}, '1970-01-01Z')"
