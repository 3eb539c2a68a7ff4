"""Rules and readings of a pump."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices.models import Device, Metric
from rules.models import Rule
from rules.services import save_rule
from rules.types import EvaluatedReading

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOT = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0}

MakeRule = Callable[..., Rule]
MakeReading = Callable[..., EvaluatedReading]


@pytest.fixture
def make_rule() -> MakeRule:
    """Return `make_rule(name="Hot", condition=…, device=…, …)`, for use inside a tenant."""

    def make(**fields: Any) -> Rule:
        return save_rule(rule=Rule(**({"name": "Hot", "condition": HOT} | fields)), now=NOW)

    return make


@pytest.fixture
def reading() -> MakeReading:
    """Return `reading(device, value, at=seconds after NOW)`."""

    def make(device: Device, value: float, at: float = 0, *, quality: int = 0, metric: str = "temperature") -> EvaluatedReading:
        metric_id = Metric.objects.get(device_type=device.device_type, key=metric).pk
        return EvaluatedReading(device.pk, metric_id, NOW + timedelta(seconds=at), value, quality)

    return make
