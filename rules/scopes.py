"""Which devices a rule is about, and a fast answer to "does any rule read this series?". Pure."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rules.conditions.parsing import Condition


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
    """The conditions of all rules about one metric, by scope. Scopes of one kind are look-ups, so that a thousand rules cost one."""

    everywhere: list[Condition] = field(default_factory=list)
    by_device: dict[int, list[Condition]] = field(default_factory=dict)
    by_device_type: dict[int, list[Condition]] = field(default_factory=dict)
    by_site: dict[uuid.UUID, list[Condition]] = field(default_factory=dict)
    narrow: list[tuple[Scope, Condition]] = field(default_factory=list)

    def add(self, scope: Scope, condition: Condition) -> None:
        match scope:
            case Scope(None, None, None):
                self.everywhere.append(condition)
            case Scope(int(device_id), None, None):
                self.by_device.setdefault(device_id, []).append(condition)
            case Scope(None, int(device_type_id), None):
                self.by_device_type.setdefault(device_type_id, []).append(condition)
            case Scope(None, None, site_ids) if site_ids is not None:
                for site_id in site_ids:
                    self.by_site.setdefault(site_id, []).append(condition)
            case _:
                self.narrow.append((scope, condition))

    def conditions(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None) -> tuple[Condition, ...]:
        return (
            *self.everywhere,
            *self.by_device.get(device_id, ()),
            *self.by_device_type.get(device_type_id, ()),
            *(self.by_site.get(site_id, ()) if site_id is not None else ()),
            *(condition for scope, condition in self.narrow if scope.covers(device_id, device_type_id, site_id)),
        )


class WatchedSeries:
    """The series that some enabled rule reads."""

    def __init__(self, watched: Iterable[tuple[str, Scope, Condition]]) -> None:
        """Take metric key, scope and condition of every enabled rule."""
        self._metrics: dict[str, _WatchedMetric] = {}
        for metric_key, scope, condition in watched:
            self._metrics.setdefault(metric_key, _WatchedMetric()).add(scope, condition)

    def conditions(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None, metric_key: str) -> tuple[Condition, ...]:
        """Return the conditions of all rules that read this metric of this device; none where nobody watches it."""
        metric = self._metrics.get(metric_key)
        return metric.conditions(device_id, device_type_id, site_id) if metric is not None else ()

    def watches(self, device_id: int, device_type_id: int, site_id: uuid.UUID | None, metric_key: str) -> bool:
        """Tell whether some rule reads this metric of this device."""
        return bool(self.conditions(device_id, device_type_id, site_id, metric_key))


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
