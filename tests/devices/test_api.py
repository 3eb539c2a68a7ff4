import shlex
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices.api.serializers import DeviceSerializer
from devices.models import Device, DeviceType, Metric, Site
from devices.services import authenticate_device_token
from iiot_site.lib.serializers import StrictSerializer
from rules.models import Rule
from telemetry.models import LatestReading
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice
from tests.devices.certificates import as_pem, make_certificate

API = "/api/v1"


@pytest.fixture
def developer(api: MakeApi, acme: Tenant, acme_developer: User) -> APIClient:
    return api(acme_developer, acme)


@pytest.fixture
def viewer(api: MakeApi, acme: Tenant, acme_viewer: User) -> APIClient:
    return api(acme_viewer, acme)


def post(client: APIClient, path: str, data: dict[str, Any], status: int = 201) -> Any:
    response = client.post(f"{API}{path}", data)
    assert response.status_code == status, response.content
    return response.json()


@pytest.fixture
def pump_type(developer: APIClient) -> dict[str, Any]:
    made: dict[str, Any] = post(developer, "/device-types", {"name": "Pump", "protocol": "mqtt", "inactivity_timeout_seconds": 60})
    return made


def test_a_plant_is_built_changed_and_cleared_through_the_api(developer: APIClient, pump_type: dict[str, Any]) -> None:
    site = post(developer, "/sites", {"name": "Hall 2", "kind": "area"})
    metric = post(developer, "/metrics", {"device_type": pump_type["id"], "key": "temperature", "unit": "°C", "maximum": 90})
    device = post(developer, "/devices", {"key": "pump-7", "device_type": pump_type["id"], "site": site["id"], "tags": ["critical"]})
    assert uuid.UUID(device["id"])
    assert device["device_type"] == {"id": pump_type["id"], "name": "Pump"}
    assert device["site"] == {"id": site["id"], "name": "Hall 2"}
    assert (device["name"], device["status"], device["last_seen_at"], device["gateway"]) == ("pump-7", "never", None, None)

    changed = developer.patch(f"{API}/devices/{device['id']}", {"name": "Feed pump", "site": None}).json()
    assert (changed["name"], changed["site"], changed["key"]) == ("Feed pump", None, "pump-7")
    assert developer.get(f"{API}/devices/{device['id']}/").json() == changed
    assert developer.patch(f"{API}/metrics/{metric['id']}", {"maximum": 95}).json()["maximum"] == 95

    for path, item in (("devices", device), ("metrics", metric), ("device-types", pump_type), ("sites", site)):
        assert developer.delete(f"{API}/{path}/{item['id']}").status_code == 204
        assert developer.get(f"{API}/{path}/{item['id']}").status_code == 404


def test_the_answer_to_a_get_can_be_put_back(developer: APIClient, pump_type: dict[str, Any]) -> None:
    written = {"key": "pump-7", "name": "P", "device_type": pump_type["id"], "protocol": "", "tags": [], "firmware": "1"}
    device = post(developer, "/devices", written)
    again = {name: device[name] for name in [*written, "site", "gateway", "latitude", "longitude", "is_enabled"]}
    response = developer.put(f"{API}/devices/{device['id']}", again)
    assert response.status_code == 200, response.content
    assert {**response.json(), "last_seen_at": None} == device


@pytest.mark.parametrize(
    ("path", "data", "field"),
    [
        ("/devices", {"key": "a b", "device_type": "TYPE"}, "key"),
        ("/devices", {"key": "ok", "device_type": "TYPE", "tags": "critical"}, "tags"),
        ("/devices", {"key": "ok", "device_type": "TYPE", "latitude": 91}, "latitude"),
        ("/devices", {"key": "ok", "device_type": "TYPE", "last_seen_at": "2026-01-01T00:00:00Z"}, "last_seen_at"),
        ("/devices", {"key": "ok", "device_type": "TYPE", "id": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1"}, "id"),
        ("/devices", {"key": "ok", "device_type": "TYPE", "colour": "red"}, "colour"),
        ("/devices", {"device_type": "TYPE"}, "key"),
        ("/device-types", {"name": "X", "inactivity_timeout_seconds": 0}, "inactivity_timeout_seconds"),
        ("/device-types", {"name": "X", "inactivity_timeout_seconds": 1e300}, "inactivity_timeout_seconds"),
        ("/device-types", {"name": "X", "inactivity_timeout_seconds": 1e13}, "inactivity_timeout_seconds"),
        ("/metrics", {"device_type": "TYPE", "key": "x", "expected_period_seconds": 8e13}, "expected_period_seconds"),
        ("/device-types", {"name": "Pump"}, "name"),
        ("/metrics", {"device_type": "TYPE", "key": "9x"}, "key"),
        ("/metrics", {"device_type": "TYPE", "key": "x", "minimum": 2, "maximum": 1}, "non_field_errors"),
        ("/sites", {"name": "X", "timezone": "Mars/Olympus"}, "timezone"),
    ],
)
def test_a_wrong_field_is_named(developer: APIClient, pump_type: dict[str, Any], path: str, data: dict[str, Any], field: str) -> None:
    filled = {name: pump_type["id"] if value == "TYPE" else value for name, value in data.items()}
    error = post(developer, path, filled, status=400)
    assert error["code"] == "invalid"
    assert list(error["errors"]) == [field]


@pytest.mark.parametrize("stranger", ["unknown", "foreign", "malformed", 7, None, {"id": []}])
def test_unknown_foreign_and_malformed_ids_in_a_body_look_the_same(developer: APIClient, globex: Tenant, stranger: Any) -> None:
    with tenant_context(globex):
        foreign = str(DeviceType.objects.create(name="Theirs").uuid)
    value = {"unknown": str(uuid.uuid4()), "foreign": foreign}.get(stranger, stranger) if isinstance(stranger, str) else stranger
    errors = post(developer, "/devices", {"key": "pump-7", "device_type": value}, status=400)["errors"]
    assert errors == {"device_type": ["This field may not be null." if stranger is None else "Not found."]}


def test_what_others_hold_on_to_cannot_be_changed(developer: APIClient, pump_type: dict[str, Any]) -> None:
    device = post(developer, "/devices", {"key": "pump-7", "device_type": pump_type["id"]})
    response = developer.patch(f"{API}/devices/{device['id']}", {"key": "pump-8"})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["key"])
    metric = post(developer, "/metrics", {"device_type": pump_type["id"], "key": "speed"})
    response = developer.patch(f"{API}/metrics/{metric['id']}", {"data_type": "text"})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["data_type"])


def test_a_circle_of_sites_is_refused_with_a_clear_error(developer: APIClient) -> None:
    plant = post(developer, "/sites", {"name": "Plant", "kind": "site"})
    hall = post(developer, "/sites", {"name": "Hall", "parent": plant["id"]})
    response = developer.patch(f"{API}/sites/{plant['id']}", {"parent": hall["id"]})
    assert response.status_code == 400
    assert response.json()["errors"] == {"parent": ["A site cannot stand inside itself. Choose a parent outside of it."]}
    assert developer.delete(f"{API}/sites/{plant['id']}").status_code == 409


def test_siblings_have_different_names(developer: APIClient) -> None:
    post(developer, "/sites", {"name": "Plant"})
    assert post(developer, "/sites", {"name": "Plant"}, status=400)["code"] == "invalid"


# --- Lists


def test_devices_are_found_by_site_type_status_tag_and_text(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        plant = Site.objects.create(name="Plant")
        hall = Site.objects.create(name="Hall", parent=plant)
        make_device(key="pump-1", name="Feed pump", site=hall, tags=["critical"])
        fan = make_device(key="fan-1", name="Fan", type_name="Fan", site=plant)
        make_device(key="pump-2", name="Spare", is_enabled=False)
        Device.objects.filter(key="pump-1").update(status="online")
        Device.objects.filter(key="fan-1").update(status="offline")

    def keys(query: str) -> list[str]:
        response = developer.get(f"{API}/devices?{query}")
        assert response.status_code == 200, response.content
        return [device["key"] for device in response.json()["results"]]

    assert keys("ordering=key") == ["fan-1", "pump-1", "pump-2"]
    assert keys("ordering=-name") == ["pump-2", "pump-1", "fan-1"]
    assert keys(f"site={plant.id}&ordering=key") == ["fan-1", "pump-1"]
    assert keys(f"site={hall.id}") == ["pump-1"]
    assert keys(f"site={uuid.uuid4()}") == []
    assert keys(f"device_type={fan.device_type.uuid}") == ["fan-1"]
    assert (keys("status=online"), keys("status=offline"), keys("status=never")) == (["pump-1"], ["fan-1"], ["pump-2"])
    assert keys("tag=critical") == ["pump-1"]
    assert keys("is_enabled=false") == ["pump-2"]
    assert keys("search=feed") == ["pump-1"]
    assert keys("search=hall") == ["pump-1"]
    assert developer.get(f"{API}/devices?status=sleeping").status_code == 400
    assert developer.get(f"{API}/devices?site=x").status_code == 400


@pytest.mark.parametrize("path", ["devices", "sites", "metrics", "device-types"])
def test_a_list_costs_the_same_queries_however_long_it_is(developer: APIClient, acme: Tenant, make_device: MakeDevice, path: str) -> None:
    def fill(start: int, end: int) -> None:
        with tenant_context(acme):
            for n in range(start, end):
                site = Site.objects.create(name=f"S{n}", parent=Site.objects.order_by("name").first())
                make_device(key=f"d{n}", type_name=f"T{n}", site=site, gateway=Device.objects.first())

    def count_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert developer.get(f"{API}/{path}").status_code == 200
        return len(queries)

    fill(0, 2)
    count_queries()  # fills the cache of tenants
    few = count_queries()
    fill(2, 12)
    assert count_queries() == few


def test_a_page_holds_what_was_asked_for_and_at_most_1000(developer: APIClient, acme: Tenant) -> None:
    with tenant_context(acme):
        Site.objects.bulk_create(Site(name=f"S{n:04}") for n in range(1005))
    page = developer.get(f"{API}/sites?page_size=5000").json()
    assert (len(page["results"]), page["count"]) == (1000, 1005)
    assert page["next"] is not None


# --- Who may


def test_a_viewer_reads_and_does_not_write(viewer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device()
        site = Site.objects.create(name="Hall")
        metric = Metric.objects.get()
    for path in (f"devices/{device.uuid}", f"sites/{site.id}", f"metrics/{metric.uuid}", f"device-types/{device.device_type.uuid}"):
        assert viewer.get(f"{API}/{path}").status_code == 200
        assert viewer.patch(f"{API}/{path}", {}).status_code == 403
        assert viewer.delete(f"{API}/{path}").status_code == 403
        assert viewer.post(f"{API}/{path.partition('/')[0]}", {}).status_code == 403
    assert viewer.get(f"{API}/devices/{device.uuid}/credentials").status_code == 403
    assert viewer.post(f"{API}/devices/{device.uuid}/credentials", {"kind": "token"}).status_code == 403


def test_an_outsider_finds_nothing_of_acme(api: MakeApi, acme: Tenant, globex: Tenant, globex_admin: User, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device(site=Site.objects.create(name="Hall"))
    outsider = api(globex_admin, globex)
    for path in (f"devices/{device.uuid}", f"sites/{device.site_id}", f"device-types/{device.device_type.uuid}"):
        assert outsider.get(f"{API}/{path}").status_code == 404
        assert outsider.get(f"/t/acme{API}/{path}").status_code == 404
        assert outsider.delete(f"{API}/{path}").status_code == 404
    assert outsider.get(f"{API}/devices/{device.uuid}/credentials").status_code == 404
    assert outsider.get(f"{API}/devices").json()["results"] == []


# --- Credentials


def test_a_secret_is_shown_once_and_revoked_by_its_id(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device()
    path = f"/devices/{device.uuid}/credentials"
    token, mqtt = post(developer, path, {"kind": "token"}), post(developer, path, {"kind": "mqtt"})
    assert mqtt["username"] == "acme/pump-7"
    with tenant_context(acme):
        assert authenticate_device_token(token=token["secret"], now=timezone.now()) is not None
    listed = developer.get(f"{API}{path}")
    assert {item["id"] for item in listed.json()["results"]} == {token["id"], mqtt["id"]}
    assert token["secret"] not in listed.content.decode()
    assert "hash" not in listed.content.decode()

    assert developer.delete(f"{API}{path}/{token['id']}").status_code == 204
    with tenant_context(acme):
        assert authenticate_device_token(token=token["secret"], now=timezone.now()) is None


def test_a_credential_is_addressed_through_its_own_device_only(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        first, second = make_device(key="a"), make_device(key="b")
    issued = post(developer, f"/devices/{first.uuid}/credentials", {"kind": "token"})
    assert developer.delete(f"{API}/devices/{second.uuid}/credentials/{issued['id']}").status_code == 404
    assert developer.get(f"{API}/devices/{uuid.uuid4()}/credentials").status_code == 404
    assert developer.post(f"{API}/devices/{uuid.uuid4()}/credentials", {"kind": "token"}).status_code == 404
    assert post(developer, f"/devices/{first.uuid}/credentials", {"kind": "spell"}, status=400)["code"] == "invalid"


def test_a_change_leaves_alone_what_somebody_else_changed_meanwhile(
    developer: APIClient, acme: Tenant, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_context(acme):
        pump = make_device("pump-7")
    check = DeviceSerializer.is_valid

    def check_while_somebody_disables_it(serializer: DeviceSerializer, **options: Any) -> bool:
        Device.objects.filter(pk=pump.pk).update(is_enabled=False)
        return bool(check(serializer, **options))

    monkeypatch.setattr(DeviceSerializer, "is_valid", check_while_somebody_disables_it)
    assert developer.patch(f"{API}/devices/{pump.uuid}", {"name": "Feed pump"}).status_code == 200
    with tenant_context(acme):
        pump.refresh_from_db()
    assert (pump.name, pump.is_enabled) == ("Feed pump", False)


@pytest.mark.parametrize(("path", "model"), [("/devices", Device), ("/rules", Rule), ("/sites", Site)])
def test_a_patch_keeps_what_somebody_else_changed_meanwhile(
    developer: APIClient, acme: Tenant, make_device: MakeDevice, path: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_context(acme):
        device = make_device()
        condition = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0}
        rule, site = Rule.objects.create(name="Hot", condition=condition), Site.objects.create(name="Hall")
    ids = {"/devices": device.uuid, "/rules": rule.pk, "/sites": site.pk}
    field, theirs = {"/devices": ("firmware", "2.0"), "/rules": ("severity", "low"), "/sites": ("kind", "area")}[path]
    check = StrictSerializer.validate

    def change_meanwhile(self: Any, attrs: Any) -> Any:
        model.objects.update(**{field: theirs})
        return check(self, attrs)

    monkeypatch.setattr(StrictSerializer, "validate", change_meanwhile)
    answer = developer.patch(f"{API}{path}/{ids[path]}", {"name": "New"})
    assert (answer.status_code, answer.json()["name"], answer.json()[field]) == (200, "New", theirs)
    with tenant_context(acme):
        assert model.objects.values_list("name", field).get() == ("New", theirs)


def test_a_metric_with_readings_stays_and_latest_values_go_with_their_device(
    developer: APIClient, acme: Tenant, make_device: MakeDevice
) -> None:
    with tenant_context(acme):
        device = make_device(metrics=("temperature", "unused"))
        sent, unused = device.device_type.metrics.order_by("key")
        moment = timezone.now()
        LatestReading.objects.create(device=device, metric=sent, ts=moment, received_at=moment, value=1)
    refused = developer.delete(f"{API}/metrics/{sent.uuid}")
    assert (refused.status_code, refused.json()["code"]) == (409, "still_in_use")
    assert developer.delete(f"{API}/metrics/{unused.uuid}").status_code == 204
    assert developer.delete(f"{API}/devices/{device.uuid}").status_code == 204
    with tenant_context(acme):
        assert not LatestReading.objects.exists()
    assert developer.delete(f"{API}/metrics/{sent.uuid}").status_code == 204


def test_a_credential_comes_with_what_to_paste_and_where_to_look(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device(metrics=("pressure",))
    path = f"/devices/{device.uuid}/credentials"
    token, mqtt, oscore = (post(developer, path, {"kind": kind}) for kind in ("token", "mqtt", "oscore"))
    (curl,), (mosquitto, *_), (libcoap,) = token["examples"], mqtt["examples"], oscore["examples"]
    assert shlex.split(curl["text"])[:2] == ["curl", "http://testserver/api/v1/telemetry"]
    assert f"Authorization: Bearer {token['secret']}" in shlex.split(curl["text"])
    words = shlex.split(mosquitto["text"])
    assert words[words.index("-t") + 1 :] == ["t/acme/pump-7/telemetry", "-m", '{"pressure": 21.5}']
    assert words[words.index("-P") + 1] == mqtt["secret"]
    assert f'sender_id,hex,"{oscore["oscore"]["client_id"]}"' in libcoap["text"]
    assert token["device_url"] == f"http://testserver/t/acme/devices/{device.uuid}"
    assert token["oscore"] is None


def test_a_credential_is_rotated_with_an_overlap_of_choice(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device()
    path = f"/devices/{device.uuid}/credentials"
    old = post(developer, path, {"kind": "mqtt", "expires_at": "2099-01-01T00:00:00Z"})
    answer = developer.post(f"{API}{path}/{old['id']}/rotate", {"overlap_hours": 2})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    new = answer.json()
    assert new["username"] == "acme/pump-7~2"
    assert new["expires_at"] > "2099"
    states = {item["id"]: item["state"] for item in developer.get(f"{API}{path}").json()["results"]}
    assert states == {old["id"]: "rotated", new["id"]: "valid"}
    again = developer.post(f"{API}{path}/{old['id']}/rotate", {})
    assert (again.status_code, again.json()["code"]) == (409, "rotation_refused")
    for wrong in (
        {"overlap_hours": -1},
        {"overlap_hours": 721},
        {"overlap": 1},
        {"overlap_hours": 0, "expires_at": "2020-01-01T00:00:00Z"},
    ):
        assert developer.post(f"{API}{path}/{new['id']}/rotate", wrong).status_code == 400


def test_a_certificate_is_registered_by_its_pem(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device()
    pem = as_pem(make_certificate("acme/pump-7", now=timezone.now()))
    path = f"/devices/{device.uuid}/credentials"
    issued = post(developer, path, {"kind": "x509", "certificate": pem})
    assert (issued["secret"], len(issued["fingerprint"]), issued["examples"]) == ("", 64, [])
    assert developer.get(f"{API}{path}").json()["results"][0]["subject"] == "CN=acme/pump-7"
    assert post(developer, path, {"kind": "x509"}, status=400)["code"] == "certificate_refused"
    assert post(developer, path, {"kind": "x509", "certificate": pem}, status=409)["code"] == "certificate_taken"
