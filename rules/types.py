"""What the pipeline hands on to the rules."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EvaluatedReading:
    """A stored number of a series that some rule reads."""

    device_id: int
    metric_id: int
    ts: datetime
    value: float
    quality: int
