"""Which devices a rule is about, and a fast answer to "does any rule read this series?". Pure."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Scope:
    """What is None does not narrow; what is set must match, all of it. `site_ids` is a site with everything below it."""

    device_id: int | None = None
    device_type_id: int | None = None
    site_ids: frozenset[uuid.UUID] | None = None

    def covers(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None) -> bool:
        """Tell whether the device is in the scope."""
        return (
            (self.device_id is None or self.device_id == device_id)
            and (self.device_type_id is None or self.device_type_id == device_type_id)
            and (self.site_ids is None or site_id in self.site_ids)
        )


@dataclass(slots=True)
class _WatchedMetric:
    """The scopes of all rules about one metric. Single conditions are sets, so that a thousand rules cost one look-up."""

    everywhere: bool = False
    device_ids: set[int] = field(default_factory=set)
    device_type_ids: set[int] = field(default_factory=set)
    site_ids: set[uuid.UUID] = field(default_factory=set)
    narrow: list[Scope] = field(default_factory=list)

    def add(self, scope: Scope) -> None:
        match scope:
            case Scope(None, None, None):
                self.everywhere = True
            case Scope(int(device_id), None, None):
                self.device_ids.add(device_id)
            case Scope(None, int(device_type_id), None):
                self.device_type_ids.add(device_type_id)
            case Scope(None, None, site_ids) if site_ids is not None:
                self.site_ids |= site_ids
            case _:
                self.narrow.append(scope)

    def covers(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None) -> bool:
        return (
            self.everywhere
            or device_id in self.device_ids
            or device_type_id in self.device_type_ids
            or site_id in self.site_ids
            or any(scope.covers(device_id, device_type_id, site_id) for scope in self.narrow)
        )


class WatchedSeries:
    """The series that some enabled rule reads."""

    def __init__(self, watched: Iterable[tuple[str, Scope]]) -> None:
        """Take (metric key, scope) of every enabled rule."""
        self._metrics: dict[str, _WatchedMetric] = {}
        for metric_key, scope in watched:
            self._metrics.setdefault(metric_key, _WatchedMetric()).add(scope)

    def watches(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None, metric_key: str) -> bool:
        """Tell whether some rule reads this metric of this device."""
        metric = self._metrics.get(metric_key)
        return metric is not None and metric.covers(device_id, device_type_id, site_id)


def subtree_ids(root: uuid.UUID, parents: Mapping[uuid.UUID, uuid.UUID | None]) -> frozenset[uuid.UUID]:
    """Return `root` and everything below it, given each site's parent."""
    children: dict[uuid.UUID | None, list[uuid.UUID]] = {}
    for site_id, parent_id in parents.items():
        children.setdefault(parent_id, []).append(site_id)
    found: set[uuid.UUID] = set()
    pending = [root]
    while pending:
        site_id = pending.pop()
        if site_id not in found:
            found.add(site_id)
            pending += children.get(site_id, [])
    return frozenset(found)
