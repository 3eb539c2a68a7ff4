"""Rules and series as plain values."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from rules.conditions.parsing import Condition
from rules.scopes import Scope

# Device id and metric id, each with the time from which on (inclusive) a rule looks at it that never did before.
SeriesSince = dict[tuple[int, int], datetime]


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """An enabled rule, ready to be evaluated."""

    id: uuid.UUID
    name: str
    version: int
    severity: str
    condition: Condition
    scope: Scope


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one device, with what rules and people need to know about it."""

    device_id: int
    device_name: str
    device_type_id: int
    site_id: uuid.UUID | None
    metric_id: int
    metric_key: str
    metric_name: str
    unit: str


@dataclass(frozen=True, slots=True, order=True)
class StateKey:
    """Names one rule's state about one series. The order is the one in which states are locked."""

    rule_id: uuid.UUID
    device_id: int
    metric_id: int

    @property
    def series(self) -> tuple[int, int]:
        """Return the series' device id and metric id."""
        return self.device_id, self.metric_id

    @property
    def dedup_key(self) -> str:
        """Return the key under which the rule's signals about the series belong together."""
        return f"rule:{self.rule_id}:{self.device_id}:{self.metric_id}"
