"""What the pipeline hands over to be stored, and what it gets back."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class NewReading:
    """One value of one metric at one time; exactly one of `value` and `text` is set. Booleans are 0.0 and 1.0."""

    device_id: int
    metric_id: int
    ts: datetime
    received_at: datetime
    value: float | None
    text: str | None
    quality: int


@dataclass(frozen=True, slots=True)
class NewRejection:
    """A message, or the part of one, that could not be stored. `reason` is a short code, `detail` says what to change."""

    received_at: datetime
    protocol: str
    source: str
    device_id: int | None
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """`stored + duplicates` equals the readings handed over."""

    stored: int
    duplicates: int
