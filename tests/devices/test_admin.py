import re
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential, DeviceType, Site
from devices.services import authenticate_device_token, issue_credential, save_site
from telemetry.models import RejectedMessage
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice
from tests.devices.certificates import as_pem, make_certificate

ADMIN = "/t/acme/admin/devices"


@pytest.fixture
def device(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        plant = save_site(site=Site(name="Plant"))
        hall = save_site(site=Site(name="Hall", parent=plant))
        return make_device(site=hall, tags=["critical"])


@pytest.fixture
def developer(browser: MakeBrowser, acme_developer: User) -> Client:
    return browser(acme_developer)


@pytest.fixture
def viewer(browser: MakeBrowser, acme_viewer: User) -> Client:
    return browser(acme_viewer)


def device_form(device: Device, **changes: object) -> dict[str, object]:
    inline = {f"credentials-{name}_FORMS": 0 for name in ("TOTAL", "INITIAL", "MIN_NUM", "MAX_NUM")}
    fields = {"name": device.name, "device_type": device.device_type_id, "site": device.site_id, "is_enabled": "on", "tags": "a, b"}
    return {**fields, **inline, **changes}


@pytest.mark.parametrize("path", ["site/", "devicetype/", "metric/", "device/", "device/?status=never", "device/?q=pump", "device/add/"])
def test_every_list_opens(developer: Client, device: Device, path: str) -> None:
    assert developer.get(f"{ADMIN}/{path}").status_code == 200


def test_sites_are_shown_as_an_indented_tree(developer: Client, device: Device) -> None:
    page = developer.get(f"{ADMIN}/site/").content.decode()
    assert page.index(">Plant<") < page.index("└ Hall")


def test_saving_a_device_keeps_its_key_and_takes_tags_by_comma(developer: Client, device: Device, acme: Tenant) -> None:
    response = developer.post(f"{ADMIN}/device/{device.pk}/change/", device_form(device, name="New", key="other"))
    assert response.status_code == 302, response.content
    with tenant_context(acme):
        device.refresh_from_db()
    assert (device.name, device.key, device.tags) == ("New", "pump-7", ["a", "b"])


def test_a_new_device_is_added(developer: Client, device: Device, acme: Tenant) -> None:
    response = developer.post(f"{ADMIN}/device/add/", device_form(device, key="pump-8", tags=""))
    assert response.status_code == 302, response.content
    with tenant_context(acme):
        assert Device.objects.get(key="pump-8").tags == []


def test_a_circle_of_sites_is_an_error_in_the_form(developer: Client, device: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        plant, hall = Site.objects.get(name="Plant"), Site.objects.get(name="Hall")
    form = {"name": "Plant", "kind": "site", "timezone": "UTC", "parent": hall.pk}
    response = developer.post(f"{ADMIN}/site/{plant.pk}/change/", form)
    assert response.status_code == 200
    assert "cannot stand inside itself" in response.content.decode()


def test_a_token_is_issued_by_a_button_and_shown_once(developer: Client, device: Device, acme: Tenant) -> None:
    url = f"{ADMIN}/device/{device.pk}/issue-token/"
    asked = developer.get(url)
    assert asked.status_code == 200
    with tenant_context(acme):
        assert not DeviceCredential.objects.exists()

    answer = developer.post(url)
    found = re.search(r'id="issued-secret"[^>]*>([^<]+)<', answer.content.decode())
    assert found is not None
    assert "no-store" in answer["Cache-Control"]
    with tenant_context(acme):
        assert authenticate_device_token(token=found[1], now=timezone.now()) is not None
        secret_hash = DeviceCredential.objects.get().secret_hash
    page = developer.get(f"{ADMIN}/device/{device.pk}/change/").content.decode()
    assert found[1] not in page
    assert secret_hash not in page


def test_an_mqtt_password_is_issued_with_its_username(developer: Client, device: Device) -> None:
    page = developer.post(f"{ADMIN}/device/{device.pk}/issue-mqtt-credential/").content.decode()
    assert "acme/pump-7" in page
    assert 'id="issued-secret"' in page


def test_the_eleventh_token_is_refused_with_a_reason(developer: Client, device: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        for _ in range(10):
            issue_credential(device=device, kind="token", now=timezone.now())
    page = developer.post(f"{ADMIN}/device/{device.pk}/issue-token/").content.decode()
    assert "ten valid credentials" in page
    assert 'id="issued-secret"' not in page


def test_chosen_credentials_are_revoked(developer: Client, device: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        chosen = issue_credential(device=device, kind="token", now=timezone.now())
        other = issue_credential(device=device, kind="mqtt", now=timezone.now())
    url = f"{ADMIN}/device/{device.pk}/revoke-credentials/"
    assert str(chosen.credential_id) in developer.get(url).content.decode()
    assert developer.post(url, {"credential": [str(chosen.credential_id)]}).status_code == 302
    with tenant_context(acme):
        assert [c.pk for c in DeviceCredential.objects.filter(revoked_at=None)] == [other.credential_id]


def test_a_viewer_looks_and_changes_nothing(viewer: Client, device: Device) -> None:
    assert viewer.get(f"{ADMIN}/device/{device.pk}/change/").status_code == 200
    assert viewer.post(f"{ADMIN}/device/{device.pk}/change/", device_form(device)).status_code == 403
    for name in ("issue-token", "issue-mqtt-credential", "issue-certificate", "issue-oscore", "rotate-credential", "revoke-credentials"):
        assert viewer.post(f"{ADMIN}/device/{device.pk}/{name}/").status_code == 403


def test_deleting_devices_and_types_goes_through_the_services(developer: Client, device: Device, acme: Tenant) -> None:
    assert developer.post(f"{ADMIN}/devicetype/{device.device_type_id}/delete/", {"post": "yes"}).status_code in {200, 403}
    form = {"action": "delete_selected", "_selected_action": [device.pk], "post": "yes"}
    assert developer.post(f"{ADMIN}/device/", form).status_code == 302
    with tenant_context(acme):
        assert not Device.objects.exists()
        assert DeviceType.objects.exists()


def test_a_rejected_message_shows_its_payload_inert(developer: Client, acme: Tenant) -> None:
    with tenant_context(acme):
        message = RejectedMessage.objects.create(
            received_at=timezone.now(), protocol="mqtt", source="t/x", reason="not_json", detail="d", payload=b"<script>", payload_bytes=8
        )
    page = developer.get(f"/t/acme/admin/telemetry/rejectedmessage/{message.pk}/change/")
    assert page.status_code == 200
    assert "&lt;script&gt;" in page.content.decode()
    assert developer.get("/t/acme/admin/telemetry/rejectedmessage/").status_code == 200
    assert developer.get("/t/acme/admin/telemetry/rejectedmessage/add/").status_code == 403


def test_what_readings_hang_on_cannot_be_changed_with_the_type(developer: Client, device: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        metric = device.device_type.metrics.get()
    url = f"{ADMIN}/devicetype/{device.device_type_id}/change/"
    form = {
        "name": "Pump",
        "protocol": "mqtt",
        "codec": "auto",
        "line_precision": "ns",
        "unknown_metrics": device.device_type.unknown_metrics,
        "inactivity_timeout": "00:05:00",
        "offline_severity": "medium",
        "metrics-TOTAL_FORMS": 2,
        "metrics-INITIAL_FORMS": 1,
        "metrics-MIN_NUM_FORMS": 0,
        "metrics-MAX_NUM_FORMS": 1000,
        "metrics-0-id": metric.pk,
        "metrics-0-device_type": device.device_type_id,
        "metrics-0-key": "other",
        "metrics-0-data_type": "boolean",
        "metrics-0-unit": "K",
        "metrics-0-DELETE": "on",
        "metrics-1-device_type": device.device_type_id,
        "metrics-1-key": "pressure",
        "metrics-1-data_type": metric.data_type,
    }
    response = developer.post(url, form)
    assert response.status_code == 302, response.content
    with tenant_context(acme):
        kept = device.device_type.metrics.get(pk=metric.pk)
        assert device.device_type.metrics.filter(key="pressure").exists()
    assert (kept.key, kept.data_type, kept.unit) == (metric.key, metric.data_type, "K")


def test_a_credential_is_chosen_and_rotated(developer: Client, device: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        old = issue_credential(device=device, kind="mqtt", now=timezone.now())
    url = f"{ADMIN}/device/{device.pk}/rotate-credential/"
    assert f"?credential={old.credential_id}" in developer.get(url).content.decode()
    page = f"{url}?credential={old.credential_id}"
    assert "overlap_hours" in developer.get(page).content.decode()
    answer = developer.post(page, {"overlap_hours": "1", "last_day": ""}).content.decode()
    assert "acme/pump-7~2" in answer
    assert "mosquitto_pub" in answer
    with tenant_context(acme):
        assert DeviceCredential.objects.get(pk=old.credential_id).rotated_at is not None
    assert developer.get(f"{url}?credential=nonsense").status_code == 200


def test_a_certificate_is_registered_and_a_wrong_one_refused_with_a_reason(developer: Client, device: Device) -> None:
    url = f"{ADMIN}/device/{device.pk}/issue-certificate/"
    assert (
        "must name its device" in developer.post(url, {"certificate": as_pem(make_certificate("x", now=timezone.now()))}).content.decode()
    )
    good = as_pem(make_certificate("acme/pump-7", now=timezone.now()))
    assert "SHA-256 fingerprint" in developer.post(url, {"certificate": good}).content.decode()
    assert "master_secret" in developer.post(f"{ADMIN}/device/{device.pk}/issue-oscore/").content.decode()


def test_a_chosen_last_day_counts_to_its_end(developer: Client, device: Device, acme: Tenant) -> None:
    developer.post(f"{ADMIN}/device/{device.pk}/issue-token/", {"last_day": "2099-12-31"})
    with tenant_context(acme):
        assert DeviceCredential.objects.get().expires_at == datetime(2100, 1, 1, tzinfo=UTC)


def test_the_list_of_devices_leads_to_import_keys_and_labels(developer: Client, viewer: Client, device: Device) -> None:
    assert "add-devices" in developer.get(f"{ADMIN}/device/").content.decode()
    assert developer.get(f"{ADMIN}/device/add-devices/")["Location"] == "/t/acme/devices/add"
    assert "add-devices" not in viewer.get(f"{ADMIN}/device/").content.decode()
