"""Signals as rules and models above would send them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerting.types import AlertSignal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

MakeSignal = Callable[..., AlertSignal]


def signal(action: Any = "trigger", *, key: str = "rule:1:7:3", at: float = 0, **fields: Any) -> AlertSignal:
    """Return a signal `at` seconds after `NOW`."""
    defaults: dict[str, Any] = {
        "severity": "high",
        "source": "rule:1",
        "device_id": None,
        "site_id": None,
        "summary": "Temperature 99 °C is above 80 °C on Pump 7",
    }
    return AlertSignal(dedup_key=key, action=action, occurred_at=NOW + timedelta(seconds=at), **(defaults | fields))


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Collects what would go to live clients: (schema, topic, frame)."""
    frames: list[tuple[str, str, Any]] = []
    monkeypatch.setattr("alerting.live.push_frames", lambda schema, pairs: frames.extend((schema, topic, frame) for topic, frame in pairs))
    return frames
