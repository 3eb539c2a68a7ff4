"""Readings for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from telemetry.types import NewReading

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def new_reading(second: float = 0, value: float | str = 1.0, **fields: Any) -> NewReading:
    """Return a reading `second` seconds after `NOW`, of device 1 and metric 1 unless `fields` say otherwise."""
    facts: dict[str, Any] = {"device_id": 1, "metric_id": 1, "ts": NOW + timedelta(seconds=second), "received_at": NOW, "quality": 0}
    is_text = isinstance(value, str)
    return NewReading(**{**facts, "value": None if is_text else value, "text": value if is_text else None, **fields})
