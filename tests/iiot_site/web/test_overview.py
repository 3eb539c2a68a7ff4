"""The overview's figures."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django import DjangoAssertNumQueries

from devices.models import Device
from iiot_site.web.shares import Share, make_shares
from telemetry import rate
from telemetry.models import RejectedMessage
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice
from tests.iiot_site.web.conftest import OpenIncident


@pytest.fixture
def viewer(browser: MakeBrowser, acme_viewer: User) -> Client:
    return browser(acme_viewer)


def test_it_tells_what_waits_what_reports_and_what_was_rejected(
    viewer: Client, acme: Tenant, pump: Device, make_device: MakeDevice, open_incident: OpenIncident
) -> None:
    open_incident(severity="critical")
    now = timezone.now()
    with tenant_context(acme):
        silent = make_device("fan-1", name="Roof fan")
        Device.objects.filter(pk=silent.pk).update(last_seen_at=now - timedelta(hours=3), status="offline")
        RejectedMessage.objects.create(
            received_at=now,
            protocol="mqtt",
            source="t/acme/pump-7/telemetry",
            device=pump,
            reason="not_json",
            detail="",
            payload=b"",
            payload_bytes=0,
        )
    page = viewer.get("/t/acme/").content.decode()
    for fact in ("1 critical", "1 online, 1 offline", "Roof fan", "3 h", ": not json", "of 1 open"):
        assert fact in page


def test_it_costs_a_bounded_number_of_queries(
    viewer: Client, open_incident: OpenIncident, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(15):
        open_incident(key=str(n))
    with django_assert_max_num_queries(24):
        page = viewer.get("/t/acme/").content.decode()
    assert "3 more" in page


def test_the_rate_comes_second_by_second(viewer: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(microseconds=uuid.uuid4().int % 10**12)
    monkeypatch.setattr("iiot_site.web.overview_views.timezone.now", lambda: now)
    rate.count_messages(acme.schema_name, 40, now - timedelta(seconds=3))
    data = viewer.get("/t/acme/overview/rate").json()
    assert len(data["counts"]) == 600
    assert sum(data["counts"][-10:]) == 40
    assert data["per_second"] == 4.0


def test_the_rate_is_honest_about_a_redis_that_is_away(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "messages_by_second", lambda *_: None)
    assert viewer.get("/t/acme/overview/rate").json()["counts"] is None


def test_shares_fill_the_bar_and_leave_out_what_is_empty() -> None:
    assert make_shares({"online": 3, "stale": 0, "offline": 1}) == [Share("online", 3, 0.0, 75.0), Share("offline", 1, 75.0, 25.0)]
    assert make_shares({"online": 0}) == []
