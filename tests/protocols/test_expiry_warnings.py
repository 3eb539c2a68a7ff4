"""Before a credential expires somebody is told; rotating or revoking it ends that."""

from datetime import UTC, datetime, timedelta

import pytest

from alerting.models import Alert, Incident
from devices.models import Device, DeviceCredential
from devices.services import issue_credential, revoke_credential, rotate_credential
from protocols.expiry_warnings import warn_of_expiry
from protocols.tasks import warn_of_expiry_task
from tenants.models import Tenant
from tests.conftest import MakeDevice

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _in_acme(in_acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerting.live.push_frames", lambda schema, frames: None)


@pytest.fixture
def pump(make_device: MakeDevice) -> Device:
    return make_device("pump-7")


def issue(device: Device, days: float) -> DeviceCredential:
    issued = issue_credential(device=device, kind="token", now=NOW, expires_at=NOW + days * DAY)
    return DeviceCredential.objects.get(pk=issued.credential_id)


def test_it_warns_fourteen_days_before_and_once(pump: Device) -> None:
    issue(pump, 30)
    issue_credential(device=pump, kind="token", now=NOW)
    warn_of_expiry(now=NOW + 15 * DAY)
    assert not Alert.objects.exists()
    for hours in (1, 2, 3):
        warn_of_expiry(now=NOW + 16 * DAY + timedelta(hours=hours))
    alert = Alert.objects.get()
    assert (alert.severity, alert.count, alert.device_id) == ("medium", 1, pump.pk)
    assert alert.summary.endswith("expires soon")
    assert alert.details["expires_at"] == "2026-03-31T12:00:00Z"


def test_it_gets_worse_when_the_credential_has_expired(pump: Device) -> None:
    issue(pump, 1)
    for days in (0, 2, 3):
        warn_of_expiry(now=NOW + days * DAY)
    alert = Alert.objects.get(resolved_at=None)
    assert (alert.severity, alert.count, Incident.objects.get().severity) == ("high", 2, "high")


@pytest.mark.parametrize("how", ["rotate", "revoke", "disable"])
def test_the_warning_ends_when_the_credential_is_dealt_with(pump: Device, how: str) -> None:
    credential = issue(pump, 5)
    warn_of_expiry(now=NOW)
    if how == "rotate":
        rotate_credential(credential=credential, now=NOW, expires_at=NOW + 90 * DAY)
    elif how == "revoke":
        revoke_credential(credential=credential, now=NOW)
    else:
        Device.objects.update(is_enabled=False)
    warn_of_expiry(now=NOW + timedelta(minutes=10))
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert Incident.objects.get().state == "resolved"


def test_a_tick_checks_every_tenant(pump: Device, eager_celery: None) -> None:
    issue(pump, 100_000)
    DeviceCredential.objects.update(expires_at=datetime.now(UTC) + DAY)
    warn_of_expiry_task()
    assert Alert.objects.get().source == "credentials"
