"""Time stamps for readings that came without one: the time of receipt, never the same one twice for a device.

Two messages in the same instant are two readings, but (device, metric, time) identifies one: the later message moves
on by a microsecond. All values of one message share their time, so that they can be compared.
"""

from datetime import datetime, timedelta
from threading import Lock

from cachetools import LRUCache

_TICK = timedelta(microseconds=1)
_lock = Lock()
_last: LRUCache[tuple[str, str], datetime] = LRUCache(maxsize=100_000)


def claim_receipt_time(*, tenant: str, device: str, received_at: datetime, ticks: int) -> datetime:
    """Return the first of `ticks` consecutive microseconds that no other message of the device has; both by their names."""
    with _lock:
        previous = _last.get((tenant, device))
        first = received_at if previous is None or received_at > previous else previous + _TICK
        _last[tenant, device] = first + (ticks - 1) * _TICK
        return first
