"""The neutral signal that anything above alerting may raise (the shape of PagerDuty's Events API v2)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class AlertSignal:
    """Something began to be wrong (`trigger`) or is right again (`resolve`). Signals with one key belong together."""

    dedup_key: str
    action: Literal["trigger", "resolve"]
    severity: str
    source: str
    device_id: int | None
    site_id: uuid.UUID | None
    summary: str
    occurred_at: datetime
    details: Mapping[str, object] = field(default_factory=dict)
