"""When a device counts as online, stale or offline."""

from datetime import datetime, timedelta
from typing import Literal

DeviceStatus = Literal["never", "online", "stale", "offline"]

DEVICE_STATUSES: tuple[DeviceStatus, ...] = ("online", "stale", "offline", "never")
OFFLINE_FACTOR = 3


def device_status(last_seen_at: datetime | None, inactivity_timeout: timedelta, now: datetime) -> DeviceStatus:
    """Return the status: silent longer than the timeout is stale, longer than three times the timeout offline."""
    if last_seen_at is None:
        return "never"
    silence = now - last_seen_at
    if silence <= inactivity_timeout:
        return "online"
    return "stale" if silence <= inactivity_timeout * OFFLINE_FACTOR else "offline"
