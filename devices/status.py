"""When a device counts as online, stale or offline. Pure.

Silence is counted from the device's last message, without the times in which the platform could not hear it. Such a
time never changes a status by itself, and after it a device has its whole timeout before its status may get worse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

DeviceStatus = Literal["never", "online", "stale", "offline"]

DEVICE_STATUSES: tuple[DeviceStatus, ...] = ("online", "stale", "offline", "never")
OFFLINE_FACTOR = 3
STATUS_TIMER = "device-status"  # the timer that says when a tenant's devices are to be looked at next


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a device could not be heard."""

    start: datetime
    end: datetime


def merge_gaps(gaps: Iterable[Gap]) -> list[Gap]:
    """Return the same times in order, without overlaps."""
    merged: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.start, gap.end)):
        if merged and gap.start <= merged[-1].end:
            merged[-1] = Gap(merged[-1].start, max(merged[-1].end, gap.end))
        else:
            merged.append(gap)
    return merged


def count_silence(last_seen_at: datetime, timeout: timedelta, now: datetime, gaps: Sequence[Gap] = ()) -> timedelta:
    """Return how long a device has been silent that could have been heard. `gaps` are merged."""
    silence, counted_from = timedelta(0), last_seen_at
    for gap in gaps:
        start, end = max(gap.start, last_seen_at), min(gap.end, now)
        if start < end:
            silence = _after_gap(silence + max(start - counted_from, timedelta(0)), timeout)
            counted_from = end
    return silence + max(now - counted_from, timedelta(0))


def _after_gap(silence: timedelta, timeout: timedelta) -> timedelta:
    """Return the silence to go on with: the status stays, and there is a whole timeout left until the next one."""
    if silence <= timeout:
        return timedelta(0)
    if silence <= timeout * OFFLINE_FACTOR:
        return min(silence, timeout * (OFFLINE_FACTOR - 1))
    return silence


def device_status(last_seen_at: datetime | None, timeout: timedelta, now: datetime, gaps: Sequence[Gap] = ()) -> DeviceStatus:
    """Return the status: silent longer than the timeout is stale, longer than three times the timeout offline."""
    if last_seen_at is None:
        return "never"
    silence = count_silence(last_seen_at, timeout, now, gaps)
    if silence <= timeout:
        return "online"
    return "stale" if silence <= timeout * OFFLINE_FACTOR else "offline"


def next_change_at(last_seen_at: datetime, timeout: timedelta, now: datetime, gaps: Sequence[Gap] = ()) -> datetime | None:
    """Return from when on the status will be another if nothing is heard; None where it is offline already."""
    silence = count_silence(last_seen_at, timeout, now, gaps)
    limits = (timeout, timeout * OFFLINE_FACTOR)
    return next((now + (limit - silence) for limit in limits if silence <= limit), None)
