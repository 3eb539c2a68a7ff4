"""One clock for the platform: the database's. Hosts may disagree; what they measure is put on it here."""

import time
from datetime import UTC, datetime, timedelta

from django.db import connection

TOLERANCE = timedelta(seconds=2)
MEASURED_FOR_SECONDS = 10.0

_measured: dict[str, tuple[float, timedelta]] = {}


def database_now() -> datetime:
    """Return what the database's clock says now, inside a transaction too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def clock_offset() -> timedelta:
    """Return how far the database's clock is ahead of this host's, measured within the last seconds.

    No further than is certain: while a busy database takes seconds to answer, its clock may as well be ours.
    """
    known = _measured.get("offset")
    if known is not None and time.monotonic() - known[0] < MEASURED_FOR_SECONDS:
        return known[1]
    before = datetime.now(UTC)
    there = database_now()
    after = datetime.now(UTC)
    doubt = (after - before) / 2
    offset = there - (before + doubt)
    if abs(offset) <= doubt:
        offset = timedelta(0)
    _measured["offset"] = (time.monotonic(), offset)
    return offset


def put_on_database_clock(moment: datetime) -> datetime:
    """Return a moment of this host's clock as the database would have told it; small differences are left alone."""
    offset = clock_offset()
    return moment + offset if abs(offset) > TOLERANCE else moment


def put_on_own_clock(moment: datetime) -> datetime:
    """Return a moment of the database's clock as this host's would have told it: `put_on_database_clock` backwards."""
    offset = clock_offset()
    return moment - offset if abs(offset) > TOLERANCE else moment
