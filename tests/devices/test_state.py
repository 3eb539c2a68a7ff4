"""Desired and reported state, in the database and over the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices import state_services as states
from devices.connection_services import ConnectionWord, record_connections
from devices.errors import UnreachableDeviceError
from devices.models import DesiredState, DesiredStateChange, Device, DeviceCredential
from devices.services import issue_credential
from devices.types import StateRef
from tenants.models import Tenant, Timer, User
from tests.conftest import MakeApi, MakeDevice

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
API = "/api/v1"


def later(**units: float) -> datetime:
    return NOW + timedelta(**units)


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device("pump-7", protocol="mqtt")


def desire(device: Device, at: datetime = NOW, **settings: Any) -> DesiredState:
    return states.change_desired(device=device, patch=settings, now=at)


def tell(at: datetime, protocol: str = "mqtt") -> list[StateRef]:
    """Send what is due, as a dispatcher does."""
    taken = states.claim_states(protocol=protocol, now=at)
    states.mark_states_sent(states=taken, now=at)
    return taken


# --- Telling the device


def test_a_change_is_told_over_the_devices_protocol_until_it_is_reported(pump: Device) -> None:
    desire(pump, interval_s=10, mode="eco")
    assert Timer.objects.get(schema="t_acme", kind="commands-mqtt").due_at == NOW
    assert tell(NOW, protocol="amqp") == []
    told = tell(NOW)
    assert [(one.device_key, one.version, one.delta) for one in told] == [("pump-7", 1, {"interval_s": 10, "mode": "eco"})]
    states.record_reported(device=pump, patch={"mode": "eco"}, now=later(seconds=1))
    assert tell(later(seconds=29)) == []
    assert [one.delta for one in tell(later(seconds=30))] == [{"interval_s": 10}]
    states.record_reported(device=pump, patch={"interval_s": 10}, now=later(seconds=31))
    assert states.next_state_at(protocol="mqtt", now=later(seconds=31)) is None
    assert tell(later(days=1)) == []


def test_a_device_that_never_reports_is_told_ten_times_and_again_when_it_comes_back(pump: Device) -> None:
    desire(pump, interval_s=10)
    at = NOW
    for _ in range(states.MAX_ATTEMPTS):
        assert len(tell(at)) == 1
        at = states.next_state_at(protocol="mqtt", now=at) or at
    assert states.next_state_at(protocol="mqtt", now=at) is None
    record_connections(words=[ConnectionWord(pump, True, later(days=9))])
    assert [one.version for one in tell(later(days=9))] == [1]


def test_a_device_that_comes_back_in_sync_is_told_nothing(pump: Device) -> None:
    desire(pump, interval_s=10)
    states.record_reported(device=pump, patch={"interval_s": 10}, now=NOW)
    record_connections(words=[ConnectionWord(pump, True, later(minutes=1))])
    assert tell(later(minutes=1)) == []


def test_a_device_that_asks_is_told_all_even_in_sync(pump: Device) -> None:
    desire(pump, interval_s=10)
    states.record_reported(device=pump, patch={"interval_s": 10}, now=NOW)
    states.request_state(device=pump, now=later(minutes=1))
    assert [(one.desired, one.delta) for one in tell(later(minutes=1))] == [({"interval_s": 10}, {})]
    assert tell(later(hours=1)) == []


def test_what_changes_while_it_is_being_sent_is_sent_again_at_once(pump: Device) -> None:
    desire(pump, interval_s=10)
    taken = states.claim_states(protocol="mqtt", now=NOW)
    desire(pump, at=later(seconds=1), interval_s=20)
    states.mark_states_sent(states=taken, now=later(seconds=2))
    assert [one.delta for one in tell(later(seconds=2))] == [{"interval_s": 20}]


def test_a_question_that_comes_while_it_is_being_sent_is_answered_again(pump: Device) -> None:
    desire(pump, interval_s=10)
    taken = states.claim_states(protocol="mqtt", now=NOW)
    states.request_state(device=pump, now=later(seconds=1))
    states.mark_states_sent(states=taken, now=later(seconds=2))
    assert len(tell(later(seconds=2))) == 1


def test_nothing_is_told_to_a_device_that_is_switched_off(pump: Device) -> None:
    desire(pump, interval_s=10)
    Device.objects.update(is_enabled=False)
    assert tell(NOW) == []


def test_the_newest_changes_are_kept(pump: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "KEPT_CHANGES", 3)
    for value in range(5):
        desire(pump, interval_s=value)
    assert list(DesiredStateChange.objects.values_list("version", "patch")) == [(n, {"interval_s": n - 1}) for n in (5, 4, 3)]


@pytest.mark.parametrize(("protocol", "words"), [("modbus", "only reads devices over Modbus"), ("opcua", "behind an OPC UA server")])
def test_what_nothing_carries_to_a_device_is_refused_and_can_be_taken_back(
    acme: Tenant, acme_operator: User, api: MakeApi, make_device: MakeDevice, protocol: str, words: str
) -> None:
    with tenant_context(acme):
        device = make_device("drive", protocol="mqtt")
        desire(device, rpm=900)
        Device.objects.filter(pk=device.pk).update(protocol=protocol)
    url, client = f"{API}/devices/{device.uuid}/state", api(acme_operator, acme)
    refused = client.patch(url, {"desired": {"rpm": 1000}}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "device_unreachable")
    assert words in refused.json()["detail"]
    assert client.patch(url, {"desired": {"rpm": None}}, format="json").json()["desired"] == {}


def test_a_device_that_was_found_to_be_read_and_may_ask_is_not_refused(in_acme: Tenant, make_device: MakeDevice) -> None:
    device = make_device("drive", protocol="auto")
    Device.objects.filter(pk=device.pk).update(last_seen_via="opcua", detected_protocol="opcua")
    device.refresh_from_db()
    with pytest.raises(UnreachableDeviceError):
        desire(device, rpm=900)
    issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=NOW)
    assert desire(device, rpm=900).version == 1


# --- API


@pytest.fixture
def operator(api: MakeApi, acme: Tenant, acme_operator: User) -> APIClient:
    return api(acme_operator, acme)


def client_of(device: Device) -> APIClient:
    client = APIClient()
    token = issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_change_reaches_a_device_over_http_and_its_report_comes_back(pump: Device, operator: APIClient, acme_operator: User) -> None:
    url, own = f"{API}/devices/{pump.uuid}/state", client_of(pump)
    empty = operator.get(url)
    assert (empty.json()["desired"], empty.json()["version"], empty.json()["is_in_sync"], empty["ETag"]) == ({}, 0, True, '"0"')
    changed = operator.patch(url, {"desired": {"interval_s": 10, "net": {"dns": "10.0.0.1"}}})
    assert changed.status_code == 200, changed.content
    assert (changed.json()["version"], changed.json()["changed_by"], changed["ETag"]) == (1, str(acme_operator), '"1"')

    seen = own.get(f"{API}/device/state").json()
    assert (seen["version"], seen["delta"], seen["reported"]) == (1, {"interval_s": 10, "net": {"dns": "10.0.0.1"}}, {})
    assert operator.get(url).json()["sent_at"] is not None
    reported = own.patch(f"{API}/device/state", {"interval_s": 10, "firmware": "2.1"})
    assert (reported.status_code, reported.json()["delta"]) == (200, {"net": {"dns": "10.0.0.1"}})

    after = operator.get(url).json()
    assert (after["reported"], after["is_in_sync"]) == ({"interval_s": 10, "firmware": "2.1"}, False)
    changes = operator.get(f"{url}/changes").json()["results"]
    assert [(one["version"], one["by"]) for one in changes] == [(1, str(acme_operator))]


def test_a_patch_may_say_by_its_type_that_it_is_one(pump: Device, operator: APIClient) -> None:
    answer = operator.patch(
        f"{API}/devices/{pump.uuid}/state", '{"desired": {"interval_s": 10}}', content_type="application/merge-patch+json"
    )
    assert answer.status_code == 200, answer.content


def test_a_change_of_another_version_than_the_present_one_is_refused(pump: Device, operator: APIClient) -> None:
    url = f"{API}/devices/{pump.uuid}/state"
    assert operator.patch(url, {"desired": {"a": 1}, "version": 0}).status_code == 200
    late = operator.patch(url, {"desired": {"a": 2}, "version": 0})
    assert (late.status_code, late.json()["code"], late.json()["errors"]) == (409, "version_conflict", {"version": 1})
    assert operator.patch(url, {"desired": {"a": 2}}, headers={"if-match": '"0"'}).status_code == 412
    assert operator.patch(url, {"desired": {"a": 2}}, headers={"if-match": "newest"}).status_code == 400
    assert operator.patch(url, {"desired": {"a": 2}}, headers={"if-match": '"1"'}).json()["version"] == 2
    assert operator.patch(url, {"desired": {"a": 2}}).json()["version"] == 2  # nothing changed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"desired": [1]}', "desired"),
        ("{}", "desired"),
        ('{"desired": {"a": 1e400}}', "desired"),
        ('{"desired": {"a": 1}, "reported": {}}', "reported"),
        ('{"desired": {"a": 1}, "version": -1}', "version"),
    ],
)
def test_a_wrong_change_is_refused_with_its_field(pump: Device, operator: APIClient, body: str, field: str) -> None:
    answer = operator.patch(f"{API}/devices/{pump.uuid}/state", body, content_type="application/json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field]), answer.content


@pytest.mark.parametrize("body", ["[1]", "null", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": 1e999}'])
def test_a_wrong_report_is_refused(pump: Device, body: str) -> None:
    assert client_of(pump).patch(f"{API}/device/state", body, content_type="application/json").status_code == 400


def test_a_viewer_sees_and_does_not_change(pump: Device, api: MakeApi, acme: Tenant, acme_viewer: User) -> None:
    viewer = api(acme_viewer, acme)
    assert viewer.get(f"{API}/devices/{pump.uuid}/state").status_code == 200
    assert viewer.patch(f"{API}/devices/{pump.uuid}/state", {"desired": {"a": 1}}).status_code == 403


def test_a_device_of_another_tenant_sees_its_own_state_only(pump: Device, globex: Tenant, make_device: MakeDevice) -> None:
    desire(pump, secret="acme's")
    with tenant_context(globex):
        stranger = client_of(make_device("pump-7"))
    assert stranger.get(f"{API}/device/state").json()["desired"] == {}
    assert stranger.get(f"/t/acme{API}/device/state").status_code in {401, 404}
    assert stranger.get(f"{API}/devices/{pump.uuid}/state").status_code in {401, 403}
