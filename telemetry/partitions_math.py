"""Which daily partitions readings need: names, bounds, which days."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

PARENT = "telemetry_reading"
DAYS_AHEAD = 3

_ONE_DAY = timedelta(days=1)
_PREFIX = f"{PARENT}_p"


def partition_name(day: date) -> str:
    """Return the table of one UTC day."""
    return f"{_PREFIX}{day:%Y%m%d}"


def partition_day(name: str) -> date | None:
    """Return the UTC day of a partition's table; None for any other table."""
    try:
        day = date.fromisoformat(name.removeprefix(_PREFIX))
    except ValueError:
        return None
    return day if partition_name(day) == name else None


def partition_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of the UTC day and the first one after it."""
    start = datetime.combine(day, time(), UTC)
    return start, start + _ONE_DAY


def utc_day(moment: datetime) -> date:
    """Return the UTC day that an aware moment falls into."""
    return moment.astimezone(UTC).date()


def days_ahead(now: datetime) -> list[date]:
    """Return today and the days for which partitions are made in advance."""
    return [utc_day(now) + timedelta(days=n) for n in range(DAYS_AHEAD + 1)]


def missing_days(days: Collection[date], existing_tables: Collection[str]) -> list[date]:
    """Return the days without a table, oldest first: everyone creates in the same order."""
    return sorted(day for day in set(days) if partition_name(day) not in existing_tables)
