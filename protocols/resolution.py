"""What the pipeline looks up for every message: devices, metrics, series that rules watch. In this process first, then in Redis.

A change reaches a listener within milliseconds (`protocols.invalidation`). Where nobody follows changes, as in a web process
or while the database is away, everything is forgotten every `UNFOLLOWED_SECONDS`; `TTL_SECONDS` is for what nobody announced.
Unknown devices are not remembered, so a new one counts at once.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from threading import Lock
from typing import Any, TypeVar

import msgspec
from cachetools import TTLCache

from devices.selectors import load_device_refs, load_metric_refs
from devices.types import DeviceRef, MetricRef
from iiot_site.lib import lookups
from protocols.activity import forget_written
from rules.conditions.parsing import Condition
from rules.scopes import Scope, WatchedSeries
from rules.selectors import load_watched_rules

TTL_SECONDS = 30
UNFOLLOWED_SECONDS = 3

_DEVICE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # as devices.models.validate_key
_ALL = "all"
T = TypeVar("T")
_lock = Lock()
_devices: TTLCache[tuple[str, str], DeviceRef] = TTLCache(maxsize=50_000, ttl=TTL_SECONDS)
_metrics: TTLCache[tuple[str, int], dict[str, MetricRef]] = TTLCache(maxsize=10_000, ttl=TTL_SECONDS)
_watched: TTLCache[str, WatchedSeries] = TTLCache(maxsize=1_000, ttl=TTL_SECONDS)
_counts = {"hits": 0, "misses": 0}
# Counts changes, so that what was read before one is not remembered after it.
_epochs: dict[str, int] = {}
_followed = {"is_followed": False, "forgotten_at": 0.0}


def resolve_devices(schema: str, keys: Collection[str]) -> dict[str, DeviceRef]:
    """Return the devices of the current tenant that exist, by key."""
    epoch = _look(schema)
    with _lock:
        known = {key: ref for key in keys if (ref := _devices.get((schema, key))) is not None}
    # What no device can be called is not asked for: the database refuses a NUL, and with it the whole batch.
    missing = [key for key in keys if key not in known and _DEVICE_KEY.match(key)]
    loaded = _load_through(schema, "device", missing, load_device_refs, DeviceRef)
    _count(asked=len(known))
    if loaded:
        with _lock:
            if _epochs.get(schema, 0) == epoch:
                _devices.update({(schema, key): ref for key, ref in loaded.items()})
        known |= loaded
    return known


def resolve_metrics(schema: str, device_type_ids: Collection[int]) -> dict[int, dict[str, MetricRef]]:
    """Return the metrics of device types of the current tenant, by type and key. The inner ones are not to be changed."""
    epoch = _look(schema)
    with _lock:
        known = {type_id: refs for type_id in device_type_ids if (refs := _metrics.get((schema, type_id))) is not None}
    missing = {str(type_id): type_id for type_id in device_type_ids if type_id not in known}
    found = _load_through(schema, "metrics", list(missing), _load_metrics, dict[str, MetricRef])
    _count(asked=len(known))
    if found:
        loaded = {missing[name]: refs for name, refs in found.items()}
        with _lock:
            if _epochs.get(schema, 0) == epoch:
                _metrics.update({(schema, type_id): refs for type_id, refs in loaded.items()})
        known |= loaded
    return known


def resolve_watched_series(schema: str) -> WatchedSeries:
    """Return which series of the current tenant some rule reads."""
    epoch = _look(schema)
    with _lock:
        watched = _watched.get(schema)
    if watched is not None:
        _count(asked=1)
        return watched
    found = _load_through(schema, "watched", [_ALL], lambda _: {_ALL: load_watched_rules()}, list[tuple[str, Scope, Condition]])
    watched = WatchedSeries(found[_ALL])
    with _lock:
        if _epochs.get(schema, 0) == epoch:
            _watched[schema] = watched
    return watched


def count_lookups() -> tuple[int, int]:
    """Return how many look-ups of this process needed no database, and how many did."""
    return _counts["hits"], _counts["misses"]


def forget_metrics(schema: str, device_type_ids: Collection[int]) -> None:
    """Look these types up again next time; called after metrics were registered."""
    with _lock:
        for type_id in device_type_ids:
            _metrics.pop((schema, type_id), None)


def forget_device(schema: str, key: str) -> None:
    """Look one device up again next time."""
    with _lock:
        _epochs[schema] = _epochs.get(schema, 0) + 1
        _devices.pop((schema, key), None)


def forget_tenant(schema: str) -> None:
    """Look everything of a tenant up again next time; called when something of it changed."""
    with _lock:
        _epochs[schema] = _epochs.get(schema, 0) + 1
        _watched.pop(schema, None)
        for device in [key for key in _devices if key[0] == schema]:
            _devices.pop(device, None)
        for device_type in [key for key in _metrics if key[0] == schema]:
            _metrics.pop(device_type, None)


def set_followed(is_followed: bool) -> None:
    """Say whether somebody calls `forget_tenant` at every change from now on. What is known may be old by then: it goes."""
    _forget_all()
    _followed["is_followed"] = is_followed


def clear_caches() -> None:
    """Forget everything; tests call it when they replace the database."""
    set_followed(False)
    forget_written()


def _look(schema: str) -> int:
    """Return the count of changes so far, before anything is read."""
    if not _followed["is_followed"] and time.monotonic() - _followed["forgotten_at"] >= UNFOLLOWED_SECONDS:
        _forget_all()
    return _epochs.get(schema, 0)


def _forget_all() -> None:
    with _lock:
        _devices.clear()
        _metrics.clear()
        _watched.clear()
        for schema in _epochs:
            _epochs[schema] += 1
    _followed["forgotten_at"] = time.monotonic()


def _count(*, asked: int, missing: int = 0) -> None:
    with _lock:
        _counts["hits"] += asked - missing
        _counts["misses"] += missing


def _load_through(
    schema: str, kind: str, keys: Collection[str], load: Callable[[Collection[str]], Mapping[str, T]], shape: Any
) -> dict[str, T]:
    """Return what Redis has of these keys and, of the others, what the database has; that goes to Redis."""
    if not keys:
        return {}
    generation, stored = lookups.find_many(schema, kind, list(keys))
    found: dict[str, T] = {}
    for key, raw in stored.items():
        try:
            found[key] = msgspec.msgpack.decode(raw, type=shape)
        except msgspec.MsgspecError:  # another version of the platform wrote it
            continue
    missing = [key for key in keys if key not in found]
    _count(asked=len(keys), missing=len(missing))
    if missing:
        loaded = load(missing)
        lookups.store_many(schema, kind, generation, {key: msgspec.msgpack.encode(value) for key, value in loaded.items()})
        found |= loaded
    return found


def _load_metrics(names: Collection[str]) -> dict[str, dict[str, MetricRef]]:
    """Return the metrics of these device types (ids as text), empty ones too."""
    loaded: dict[str, dict[str, MetricRef]] = {name: {} for name in names}
    for (type_id, key), ref in load_metric_refs([int(name) for name in names]).items():
        loaded[str(type_id)][key] = ref
    return loaded
