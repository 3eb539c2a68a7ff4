"""Buckets of time: spans of one width counted from 1970-01-01 UTC, or days, weeks, months and years of a time zone.

A calendar bucket begins at midnight on the wall clock of its zone, so a day may have 23 or 25 hours. A midnight that
the clocks skip begins when they go on; one that comes twice begins the first time. Weeks begin on Monday (ISO 8601).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CALENDAR_UNITS = ("day", "week", "month", "year")
NARROWEST, WIDEST = timedelta(seconds=1), timedelta(days=366)

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Buckets(Protocol):
    """How a span of time is cut."""

    def floor(self, moment: datetime) -> datetime:
        """Return where the bucket of `moment` begins."""

    def shift(self, edge: datetime, count: int) -> datetime:
        """Return where the bucket `count` after the one that begins at `edge` begins; before it where negative."""


@dataclass(frozen=True, slots=True)
class FixedBuckets:
    """Spans of one width."""

    width: timedelta

    def floor(self, moment: datetime) -> datetime:
        return EPOCH + (moment - EPOCH) // self.width * self.width

    def shift(self, edge: datetime, count: int) -> datetime:
        return edge + self.width * count


@dataclass(frozen=True, slots=True)
class CalendarBuckets:
    """Days, weeks, months or years as the wall clock of a zone has them."""

    unit: str
    zone: ZoneInfo

    def floor(self, moment: datetime) -> datetime:
        return self._midnight(_first_day(moment.astimezone(self.zone).date(), self.unit))

    def shift(self, edge: datetime, count: int) -> datetime:
        day = edge.astimezone(self.zone).date()
        if self.unit == "day":
            return self._midnight(day + timedelta(days=count))
        if self.unit == "week":
            return self._midnight(_first_day(day, "week") + timedelta(weeks=count))
        months = (day.year * 12 + day.month - 1) + count * (12 if self.unit == "year" else 1)
        return self._midnight(_first_day(date(months // 12, months % 12 + 1, 1), self.unit))

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)


def _first_day(day: date, unit: str) -> date:
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def parse_duration(text: str) -> timedelta:
    """Return the width that `60`, `90s`, `5m`, `1h` or `1d` means.

    Raises:
        ValueError: it is none of these, or narrower than a second or wider than 366 days.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("Use seconds, a duration such as 30s, 5m, 1h or 1d, or one of day, week, month, year.")
    seconds = int(match[1]) * _SECONDS[match[2] or "s"]
    if not NARROWEST.total_seconds() <= seconds <= WIDEST.total_seconds():
        raise ValueError("Use a width from one second to 366 days.")
    return timedelta(seconds=seconds)


def list_edges(buckets: Buckets, *, start: datetime, end: datetime) -> list[datetime]:
    """Return where the buckets that meet [start, end) begin, and last where the final one ends."""
    edges = [buckets.floor(start)]
    count = 0
    while edges[-1] < end:
        count += 1
        edge = buckets.shift(edges[0], count)
        if edge > edges[-1]:  # a day that a zone left out has no length
            edges.append(edge)
    return edges


def page_bounds(buckets: Buckets, *, start: datetime, end: datetime, limit: int, newest_first: bool) -> tuple[datetime, datetime]:
    """Return the part of [start, end) that the first `limit` buckets cover, or with `newest_first` the last ones."""
    if newest_first:
        last = buckets.floor(end - timedelta(microseconds=1))
        return max(start, buckets.shift(last, 1 - limit)), end
    return start, min(end, buckets.shift(buckets.floor(start), limit))
