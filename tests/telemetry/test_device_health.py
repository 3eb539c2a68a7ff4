"""A device's health: what is measured, what is said about it, who sees its credentials."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.models import ModbusConnection
from devices.models import Device, DeviceCredential, StatusChange
from devices.services import issue_credential, rotate_credential
from protocols.called_devices import load_health
from telemetry.device_health import load_device_health
from telemetry.health_findings import Call, HealthFigures, find_health
from telemetry.models import LatestReading, MinuteRollup, RejectedMessage
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WELL = HealthFigures("online", 0, 0.0, 0.0, 0.1, 0, None, None)


def codes(**figures: object) -> list[str]:
    facts = {name: getattr(WELL, name) for name in HealthFigures.__slots__} | figures
    return [finding.code for finding in find_health(HealthFigures(**facts), NOW)]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, []),
        ({"bad_share": None, "uncertain_share": None, "clock_skew_seconds": None}, []),
        ({"status": "offline", "status_changes": 6}, ["offline", "flapping"]),
        ({"status": "stale", "bad_share": 0.2}, ["bad_quality", "stale"]),
        ({"uncertain_share": 0.05}, ["uncertain_quality"]),
        ({"clock_skew_seconds": -95.0}, ["clock_skew"]),
        ({"rejected": 1}, ["rejected"]),
        ({"next_expiry_at": NOW + timedelta(days=13)}, ["expiry"]),
        ({"next_expiry_at": NOW + timedelta(days=15)}, []),
        ({"has_valid_credential": False}, ["no_credential"]),
        ({"metrics_left": 2_999}, ["few_metrics_left"]),
        ({"metrics_left": 3_000}, []),
    ],
)
def test_it_says_what_stands_out_and_nothing_else(figures: dict[str, object], expected: list[str]) -> None:
    assert codes(**figures) == expected


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    """A device with four minutes of values, some bad, a slow clock, changes of status and rejected messages."""
    now = timezone.now()
    device = make_device()
    metric = device.device_type.metrics.get()
    LatestReading.objects.create(device=device, metric=metric, ts=now - timedelta(seconds=95), received_at=now, value=1.0)
    fields = dict.fromkeys(("total", "squares", "low", "high", "first_value", "last_value"), 1.0)
    for n, quality in enumerate((0, 0, 1, 2)):
        bucket = now - timedelta(hours=1, minutes=n)
        times = dict.fromkeys(("first_at", "last_at", "low_at", "high_at"), bucket)
        MinuteRollup.objects.create(device=device, metric=metric, bucket=bucket, n=1, quality=quality, **fields, **times)
    changes = [("never", "online", 3), ("online", "stale", 2), ("stale", "online", 1), ("online", "stale", 30)]
    for before, after, hours in changes:
        StatusChange.objects.create(device=device, at=now - timedelta(hours=hours), before=before, after=after)
    for n, age in enumerate((timedelta(minutes=1), timedelta(minutes=2), timedelta(days=2))):
        RejectedMessage.objects.create(
            received_at=now - age,
            protocol="mqtt",
            source="t",
            device=device,
            reason="not_json",
            detail=f"{n}",
            payload=b"",
            payload_bytes=0,
        )
    return device


def test_it_measures_the_last_day(pump: Device) -> None:
    health = load_device_health(device=pump, with_credentials=True, now=timezone.now())
    figures = health.figures
    assert (figures.uncertain_share, figures.bad_share, figures.status_changes, figures.rejected) == (0.25, 0.25, 2, 2)
    assert figures.clock_skew_seconds == pytest.approx(95)
    assert health.rejected_by_reason == {"not_json": 2}
    assert [error.detail for error in health.last_errors] == ["0", "1"]
    assert [finding.code for finding in health.findings] == ["bad_quality", "clock_skew", "rejected", "no_credential"]


def test_a_new_device_has_nothing_to_tell(in_acme: Tenant, make_device: MakeDevice) -> None:
    health = load_device_health(device=make_device(), with_credentials=False, now=timezone.now())
    assert (health.findings, health.figures.bad_share, health.figures.clock_skew_seconds, health.silent_since) == ([], None, None, None)


def test_only_who_may_read_credentials_learns_of_their_expiry(
    pump: Device, acme: Tenant, acme_viewer: User, acme_developer: User, api: MakeApi
) -> None:
    expires_at = timezone.now() + timedelta(days=3)
    with tenant_context(acme):
        issue_credential(device=pump, kind=DeviceCredential.Kind.TOKEN, now=timezone.now(), expires_at=expires_at)
    url = f"/api/v1/devices/{pump.uuid}/health"
    seen = {user.email: api(user, acme).get(url).json() for user in (acme_viewer, acme_developer)}
    assert seen[acme_viewer.email]["next_expiry_at"] is None
    assert seen[acme_developer.email]["next_expiry_at"] is not None
    assert "expiry" in [finding["code"] for finding in seen[acme_developer.email]["findings"]]
    assert seen[acme_viewer.email]["bad_share"] == 0.25


def test_a_credential_that_has_a_successor_is_no_reason_to_warn(in_acme: Tenant, make_device: MakeDevice) -> None:
    pump = make_device()
    issue_credential(device=pump, kind=DeviceCredential.Kind.TOKEN, now=timezone.now())
    rotate_credential(credential=pump.credentials.get(), now=timezone.now())
    health = load_device_health(device=pump, with_credentials=True, now=timezone.now())
    assert "expiry" not in [finding.code for finding in health.findings]
    assert health.figures.next_expiry_at is None


def test_what_never_logs_in_itself_needs_no_credential(in_acme: Tenant, make_device: MakeDevice) -> None:
    gateway = make_device("gateway")
    devices = [gateway, make_device("behind", gateway=gateway), make_device("called", protocol="modbus")]
    found = [load_device_health(device=device, with_credentials=True, now=timezone.now()).findings for device in devices]
    assert [[finding.code for finding in findings] for findings in found] == [["no_credential"], [], ["no_connection"]]


BROKEN = Call("The Modbus TCP connection at 10.0.4.17:502, unit 1", is_enabled=True, is_failing=True, error="nobody listens there")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (BROKEN, ["connection", "bad_quality"]),
        (replace(BROKEN, is_failing=False, error=""), ["bad_quality"]),
        (replace(BROKEN, is_failing=False, is_enabled=False), ["connection_off", "bad_quality"]),
        (replace(BROKEN, is_failing=False, error="", broken_nodes=2), ["connection_nodes", "bad_quality"]),
        (None, ["no_connection", "bad_quality"]),
    ],
)
def test_a_connection_that_fails_comes_before_what_follows_from_it(call: Call | None, expected: list[str]) -> None:
    figures = replace(WELL, bad_share=1.0, is_called=True, calls=() if call is None else [call])
    found = find_health(figures, NOW)
    assert [finding.code for finding in found] == expected
    assert all("look at its sensors" not in finding.text for finding in found)
    assert call is not BROKEN or "nobody listens there" in found[0].text


def test_a_device_with_a_failing_connection_is_told_of_it_and_not_of_credentials(
    in_acme: Tenant, make_device: MakeDevice, acme_developer: User, api: MakeApi, acme: Tenant
) -> None:
    pump = make_device()
    ModbusConnection.objects.create(device=pump, host="10.0.4.17", state="failing", last_error="no answer within 3 s")
    found = load_health(device=pump, permissions=("*",), now=timezone.now()).findings
    assert [finding.code for finding in found] == ["connection"]
    assert "10.0.4.17:502, unit 1 fails: no answer within 3 s" in found[0].text
    hidden = load_health(device=pump, permissions=("telemetry:read",), now=timezone.now()).findings
    assert [finding.text for finding in hidden] == ["The Modbus TCP connection fails."]
    answer = api(acme_developer, acme).get(f"/api/v1/devices/{pump.uuid}/health").json()
    assert [finding["code"] for finding in answer["findings"]] == ["connection"]
