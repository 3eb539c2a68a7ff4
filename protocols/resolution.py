"""Short-lived caches of what the pipeline looks up for every message: devices, metrics, series that rules watch.

A change made elsewhere is seen within `TTL_SECONDS`. Unknown devices are not remembered, so a new one counts at once.
"""

import re
from collections.abc import Collection
from threading import Lock

from cachetools import TTLCache

from devices.selectors import load_device_refs, load_metric_refs
from devices.types import DeviceRef, MetricRef
from protocols.activity import forget_written
from rules.selectors import WatchedSeries, load_watched_series

TTL_SECONDS = 5
WATCHED_TTL_SECONDS = 2

_DEVICE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # as devices.models.validate_key
_lock = Lock()
_devices: TTLCache[tuple[str, str], DeviceRef] = TTLCache(maxsize=50_000, ttl=TTL_SECONDS)
_metrics: TTLCache[tuple[str, int], dict[str, MetricRef]] = TTLCache(maxsize=10_000, ttl=TTL_SECONDS)
_watched: TTLCache[str, WatchedSeries] = TTLCache(maxsize=1_000, ttl=WATCHED_TTL_SECONDS)
_lookups = {"hits": 0, "misses": 0}


def count_lookups() -> tuple[int, int]:
    """Return how many look-ups of this process needed no database, and how many did."""
    return _lookups["hits"], _lookups["misses"]


def _count(*, asked: int, missing: int) -> None:
    with _lock:
        _lookups["hits"] += asked - missing
        _lookups["misses"] += missing


def resolve_devices(schema: str, keys: Collection[str]) -> dict[str, DeviceRef]:
    """Return the devices of the current tenant that exist, by key."""
    with _lock:
        known = {key: ref for key in keys if (ref := _devices.get((schema, key))) is not None}
    # What no device can be called is not asked for: the database refuses a NUL, and with it the whole batch.
    missing = [key for key in keys if key not in known and _DEVICE_KEY.match(key)]
    _count(asked=len(keys), missing=len(missing))
    if missing:
        loaded = load_device_refs(missing)
        with _lock:
            _devices.update({(schema, key): ref for key, ref in loaded.items()})
        known |= loaded
    return known


def resolve_metrics(schema: str, device_type_ids: Collection[int]) -> dict[int, dict[str, MetricRef]]:
    """Return the metrics of device types of the current tenant, by type and key. The inner ones are not to be changed."""
    with _lock:
        known = {type_id: refs for type_id in device_type_ids if (refs := _metrics.get((schema, type_id))) is not None}
    missing = [type_id for type_id in device_type_ids if type_id not in known]
    _count(asked=len(device_type_ids), missing=len(missing))
    if missing:
        loaded: dict[int, dict[str, MetricRef]] = {type_id: {} for type_id in missing}
        for (type_id, key), ref in load_metric_refs(missing).items():
            loaded[type_id][key] = ref
        with _lock:
            _metrics.update({(schema, type_id): refs for type_id, refs in loaded.items()})
        known |= loaded
    return known


def forget_metrics(schema: str, device_type_ids: Collection[int]) -> None:
    """Look these types up again next time; called after metrics were registered."""
    with _lock:
        for type_id in device_type_ids:
            _metrics.pop((schema, type_id), None)


def resolve_watched_series(schema: str) -> WatchedSeries:
    """Return which series of the current tenant some rule reads."""
    with _lock:
        watched = _watched.get(schema)
    _count(asked=1, missing=watched is None)
    if watched is None:
        watched = load_watched_series()
        with _lock:
            _watched[schema] = watched
    return watched


def clear_caches() -> None:
    """Forget everything; tests call it when they replace the database."""
    with _lock:
        _devices.clear()
        _metrics.clear()
        _watched.clear()
    forget_written()
