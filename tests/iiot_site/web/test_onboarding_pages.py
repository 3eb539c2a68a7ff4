"""Adding many devices, printing labels, and scanning one."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.claim_services import load_codes
from devices.models import ClaimCode, Device, DeviceType, ProvisioningKey, Site
from devices.selectors import load_broker_logins
from iiot_site.lib.broker_password import verify_broker_password
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser

ADD = "/t/acme/devices/add"


@pytest.fixture
def developer(browser: MakeBrowser, acme_developer: User, acme: Tenant) -> Client:
    with tenant_context(acme):
        DeviceType.objects.get_or_create(name="Pump")
    return browser(acme_developer)


def upload(client: Client, content: str, mode: str = "import", **more: str) -> str:
    file = SimpleUploadedFile("devices.csv", content.encode())
    answer = client.post(f"{ADD}/import", {"file": file, "mode": mode, **more})
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


# --- Import


def test_a_file_is_checked_then_imported_and_its_credentials_downloaded_once(developer: Client, acme: Tenant) -> None:
    content = "key,type\n-p1,Pump\np2,Pump\n"
    assert "2 of 2 devices can be imported" in upload(developer, content, "check")
    report = upload(developer, content, credentials="mqtt")
    assert "2 of 2 devices were imported" in report
    found = re.search(r'action="([^"]+/credentials/[^"]+)"', report)
    assert found is not None
    download = developer.post(found[1])
    assert (download.status_code, download["Content-Type"]) == (200, "text/csv; charset=utf-8")
    lines = download.content.decode().splitlines()
    assert [line.split(",")[:3] for line in lines] == [
        ["device", "kind", "username"],
        ["'-p1", "mqtt", "acme/-p1"],
        ["p2", "mqtt", "acme/p2"],
    ]
    with tenant_context(acme):
        assert verify_broker_password(lines[2].split(",")[3], load_broker_logins(timezone.now())["acme/p2"])
    assert developer.post(found[1]).status_code == 410


def test_a_download_belongs_to_who_imported(developer: Client, browser: MakeBrowser, acme_admin: User, globex_admin: User) -> None:
    report = upload(developer, "key,type\np1,Pump\n", credentials="token")
    found = re.search(r'action="([^"]+/credentials/[^"]+)"', report)
    assert found is not None
    assert browser(acme_admin).post(found[1]).status_code == 410
    assert browser(globex_admin).post(found[1]).status_code == 404
    assert developer.post(found[1]).status_code == 200


def test_wrong_cells_are_listed_inert(developer: Client, acme: Tenant) -> None:
    report = upload(developer, "key,type\na b,Pump\nok,<script>\n")
    assert "nothing was imported" in report
    assert report.count("<tr>") == 3
    assert "<script>" not in upload(developer, "<script>,type\n")
    assert "1 of 2 devices were imported" in upload(developer, "key,type\na b,Pump\nok,Pump\n", partial="1")
    assert "Choose a CSV file" in developer.post(f"{ADD}/import", {"mode": "check"}).content.decode()


# --- Provisioning keys


def test_a_key_is_made_shown_once_and_revoked(developer: Client, acme: Tenant) -> None:
    with tenant_context(acme):
        type_id, site_id = DeviceType.objects.get().pk, Site.objects.create(name="Hall 9").pk
    form = {"name": "Batch 7", "device_type": type_id, "site": site_id, "max_uses": "5", "expires_at": "2099-01-01T00:00"}
    made = developer.post(f"{ADD}/keys", form)
    assert "iiot_prov_acme." in made.content.decode()
    assert "iiot_prov_acme." not in developer.get(ADD).content.decode()
    assert developer.post(f"{ADD}/keys", {**form, "max_uses": "0"}).status_code == 400
    with tenant_context(acme):
        key = ProvisioningKey.objects.select_related("site").get()
    assert key.site is not None
    assert key.site.pk == site_id
    assert developer.post(f"{ADD}/keys/{key.pk}/revoke").status_code == 302
    assert "has been revoked" in developer.get(ADD).content.decode()


# --- Labels


def test_labels_are_printed_for_the_chosen_devices(developer: Client, acme: Tenant, pump: Device) -> None:
    assert developer.get("/t/acme/devices/labels").status_code == 200
    for chosen, count in (({"q": "pump"}, 1), ({"q": "nothing"}, 0), ({"device": str(pump.uuid)}, 1), ({"site": str(pump.site_id)}, 1)):
        sheet = developer.post("/t/acme/devices/labels/print", chosen)
        assert sheet.content.decode().count('class="qr"') == count
        assert ("No device fits" in sheet.content.decode()) is (count == 0)
        assert "no-store" in sheet["Cache-Control"]
    with tenant_context(acme):
        assert ClaimCode.objects.count() == 1
    assert developer.post("/t/acme/devices/labels/print", {"type": "x"}).status_code == 200


@pytest.fixture
def scanned(acme: Tenant, pump: Device) -> str:
    """The address on the label of a pump that is not in service yet."""
    with tenant_context(acme):
        Device.objects.update(is_enabled=False)
        return f"/t/acme/claim?device=pump-7&code={load_codes(devices=[pump], now=timezone.now())[pump.pk]}"


def test_scanning_a_label_puts_the_device_into_service(developer: Client, acme: Tenant, pump: Device, scanned: str) -> None:
    with tenant_context(acme):
        hall = Site.objects.create(name="Hall 9")
    assert "Put into service" in developer.get(scanned).content.decode()
    assert developer.post(scanned, {"name": ""}).status_code == 400
    answer = developer.post(scanned, {"name": "Feed pump", "site": str(hall.pk), "is_enabled": "1"})
    assert (answer.status_code, answer["Location"]) == (302, f"/t/acme/devices/{pump.uuid}")
    with tenant_context(acme):
        pump.refresh_from_db()
    assert (pump.name, pump.site_id, pump.is_enabled) == ("Feed pump", hall.pk, True)
    assert "this label has been used" in developer.get(scanned).content.decode()
    developer.post(scanned, {"name": "Again"})
    with tenant_context(acme):
        pump.refresh_from_db()
    assert pump.name == "Feed pump"


def test_a_label_opens_for_members_with_the_right_only(
    browser: MakeBrowser, acme_viewer: User, globex_admin: User, scanned: str, pump: Device
) -> None:
    login = browser(None).get(scanned)
    assert login.status_code == 302
    assert parse_qs(urlsplit(login["Location"]).query)["next"] == [scanned]
    for method in ("get", "post"):
        assert getattr(browser(acme_viewer), method)(scanned).status_code == 403
        assert getattr(browser(globex_admin), method)(scanned).status_code == 404
        at_home = getattr(browser(globex_admin), method)(scanned.replace("/t/acme", "/t/globex"))
        assert (at_home.status_code, pump.name in at_home.content.decode()) == (404, False)


def test_a_wrong_label_says_so(developer: Client, scanned: str) -> None:
    for wrong in (scanned[:-1], "/t/acme/claim", "/t/acme/claim?device=pump-7&code=x"):
        answer = developer.get(wrong)
        assert answer.status_code == 404
        assert "not valid here" in answer.content.decode()


def test_only_those_who_may_add(browser: MakeBrowser, acme_viewer: User, globex_admin: User) -> None:
    for path in ("devices/add", "devices/labels"):
        assert browser(acme_viewer).get(f"/t/acme/{path}").status_code == 403
        assert browser(globex_admin).get(f"/t/acme/{path}").status_code == 404
    for path in ("devices/add/import", "devices/add/keys", "devices/labels/print"):
        assert browser(acme_viewer).post(f"/t/acme/{path}").status_code == 403
        assert browser(globex_admin).post(f"/t/acme/{path}").status_code == 404
