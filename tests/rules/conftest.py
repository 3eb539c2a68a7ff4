"""Rules and readings of a pump."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from alerting.services import handle_signals
from alerting.types import AlertSignal
from devices.models import Device, Metric
from rules.models import Rule
from rules.services import raise_alerts, save_rule
from rules.types import SeriesSince
from telemetry.services import store_readings
from telemetry.types import NewReading

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOT = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0}

MakeRule = Callable[..., Rule]
MakeReading = Callable[..., NewReading]


@pytest.fixture
def make_rule() -> MakeRule:
    """Return `make_rule(name="Hot", condition=…, device=…, …)`, for use inside a tenant."""

    def make(**fields: Any) -> Rule:
        return save_rule(rule=Rule(**({"name": "Hot", "condition": HOT} | fields)), now=NOW)

    return make


@pytest.fixture
def reading() -> MakeReading:
    """Return `reading(device, value, at=seconds after NOW)`."""

    def make(device: Device, value: float, at: float = 0, *, quality: int = 0, metric: str = "temperature") -> NewReading:
        metric_id = Metric.objects.get(device_type=device.device_type, key=metric).pk
        return NewReading(device.pk, metric_id, NOW + timedelta(seconds=at), NOW - timedelta(seconds=60), value, None, quality)

    return make


def store(readings: Sequence[NewReading]) -> SeriesSince:
    """Store readings as the pipeline does, and return what it then tells the rules."""
    store_readings(readings=readings, now=NOW)
    since: SeriesSince = {}
    for reading in readings:
        pair = (reading.device_id, reading.metric_id)
        since[pair] = min(reading.ts, since.get(pair, reading.ts))
    return since


def evaluate(readings: Sequence[NewReading]) -> list[AlertSignal]:
    """Store readings, evaluate them, and return the signals that went to alerting."""
    since = store(readings)
    with patch("rules.services.handle_signals", wraps=handle_signals) as handled:
        raise_alerts(since=since, now=NOW)
    return list(handled.call_args.kwargs["signals"]) if handled.called else []
