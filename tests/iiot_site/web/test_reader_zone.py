"""Times of pages are in the reader's time zone, which the browser tells in a cookie."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential
from devices.services import issue_credential
from iiot_site.templatetags.shell import local_times
from iiot_site.web.reader_zone_middleware import COOKIE, find_zone
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser


@pytest.fixture
def developer(browser: MakeBrowser, acme_developer: User) -> Client:
    client = browser(acme_developer)
    client.cookies[COOKIE] = "Asia/Kolkata"
    return client


def test_a_page_and_its_forms_are_in_the_readers_zone(developer: Client, acme: Tenant, pump: Device) -> None:
    path = f"/t/acme/devices/{pump.uuid}/credentials"
    day = (timezone.now() + timedelta(days=90)).date()
    page = developer.post(f"{path}/issue", {"kind": "token", "last_day": day.isoformat()}).content.decode()
    with tenant_context(acme):
        ends_at = DeviceCredential.objects.get().expires_at
    assert ends_at == datetime(day.year, day.month, day.day, 18, 30, tzinfo=UTC), "midnight in India"
    assert f"{day + timedelta(days=1)} 00:00:00 IST" in page
    assert "Last day, in Asia/Kolkata." in page
    assert "UTC" not in page
    developer.cookies[COOKIE] = "UTC"
    assert f"{day} 18:30:00 UTC" in developer.get(path).content.decode()


@pytest.mark.parametrize("name", ["Nowhere/Land", "../../etc/passwd", "Europe", "x" * 65, "a\\0b"])
def test_a_cookie_that_names_no_zone_is_as_none(developer: Client, name: str) -> None:
    developer.cookies[COOKIE] = name
    assert "In UTC. Empty" in developer.get("/t/acme/devices/add").content.decode()
    assert find_zone(name) is None


def test_what_lasts_for_ever_can_be_written_in_every_zone(developer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        issue_credential(device=pump, kind="token", now=timezone.now(), expires_at=datetime.max.replace(tzinfo=UTC))
    assert "9999-12-30" in developer.get(f"/t/acme/devices/{pump.uuid}/credentials").content.decode()


def test_moments_within_words_are_the_readers_and_the_rest_is_inert() -> None:
    words = local_times("<b>from 2026-11-21T13:16:43+00:00 to 2026-11-21 14:00 UTC, 2026-99-21 14:00 UTC</b>")
    assert words.count("<time") == 2
    assert words.startswith("&lt;b&gt;from <time")
    assert words.endswith(", 2026-99-21 14:00 UTC&lt;/b&gt;")
