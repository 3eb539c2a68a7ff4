"""Which devices' activity is worth a write: each is remembered for some seconds, so that a busy device costs one in that time."""

from collections.abc import Mapping
from datetime import datetime
from threading import Lock

from cachetools import LRUCache

from devices.services import ACTIVITY_STEP

_lock = Lock()
_written: LRUCache[tuple[str, int], datetime] = LRUCache(maxsize=100_000)


def select_due(schema: str, seen: Mapping[int, datetime]) -> dict[int, datetime]:
    """Return those of `seen` (device id to time of receipt) that this process has not written within the last seconds."""
    with _lock:
        return {
            device_id: seen_at
            for device_id, seen_at in seen.items()
            if (written := _written.get((schema, device_id))) is None or seen_at - written >= ACTIVITY_STEP
        }


def remember_written(schema: str, seen: Mapping[int, datetime]) -> None:
    """Remember what is committed."""
    with _lock:
        for device_id, seen_at in seen.items():
            _written[schema, device_id] = seen_at


def forget_written() -> None:
    """Forget everything; tests call it when they replace the database."""
    with _lock:
        _written.clear()
