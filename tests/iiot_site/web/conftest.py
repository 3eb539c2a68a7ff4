"""An incident of acme on a device, as pages show it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from alerting.models import Incident
from alerting.services import handle_signal
from alerting.types import AlertSignal
from devices.models import Device, Site
from tenants.models import Tenant
from tests.conftest import MakeDevice

OpenIncident = Callable[..., Incident]
Flap = Callable[..., None]

DETAILS = {
    "rule": "5b0c",
    "rule_name": "Pump too hot",
    "rule_version": 3,
    "metric": "temperature",
    "value": 99.0,
    "unit": "°C",
    "ts": "2026-11-21T03:00:00+00:00",
    "quality": "good",
    "condition": {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80, "clear_threshold": 75},
}


@pytest.fixture(autouse=True)
def _no_live_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerting.live.push_frames", lambda schema, frames: None)


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    """A device of acme that was seen just now."""
    with tenant_context(acme):
        site = Site.objects.create(name="Hall 3")
        device = make_device(site=site)
        Device.objects.filter(pk=device.pk).update(last_seen_at=timezone.now() - timedelta(seconds=7), status="online")
        device.refresh_from_db()
    return device


@pytest.fixture
def open_incident(acme: Tenant, pump: Device) -> OpenIncident:
    """Return `open_incident(key=…, severity=…, summary=…)`."""

    def make(*, key: str = "rule:1:1", severity: str = "high", summary: str = "Temperature 99 °C is above 80 °C on Pump 7") -> Incident:
        now = timezone.now()
        facts: dict[str, Any] = {"source": "rule:1", "device_id": pump.pk, "site_id": pump.site_id, "occurred_at": now, "details": DETAILS}
        with tenant_context(acme):
            incident = handle_signal(
                signal=AlertSignal(dedup_key=key, action="trigger", severity=severity, summary=summary, **facts), now=now
            )
        assert incident is not None
        return incident

    return make


@pytest.fixture
def flap(acme: Tenant, pump: Device) -> Flap:
    """Let what fires clear and come back some times, an alert of its own each time."""

    def let(*, times: int, key: str = "rule:1:1") -> None:
        facts: dict[str, Any] = {"dedup_key": key, "severity": "high", "source": "rule:1", "device_id": pump.pk, "site_id": pump.site_id}
        with tenant_context(acme):
            for _ in range(times):
                for action in ("resolve", "trigger"):
                    now = timezone.now()
                    details = DETAILS if action == "trigger" else {}
                    signal = AlertSignal(action=action, summary="Temperature 99 °C", occurred_at=now, details=details, **facts)
                    handle_signal(signal=signal, now=now)

    return let
