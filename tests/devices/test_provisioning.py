"""Devices register themselves with a key of their type."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices import request_limits
from devices.credential_formats import make_provisioning_key, parse_provisioning_key
from devices.errors import ProvisioningKeyInvalidError
from devices.models import Device, DeviceType, ProvisioningKey, Site
from devices.provisioning import why_unusable
from devices.provisioning_services import issue_provisioning_key, provision_device, revoke_provisioning_key
from devices.services import authenticate_device_token, issue_credential, revoke_credential
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser, MakeDevice

API = "/api/v1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_key(tenant: Tenant, **limits: Any) -> tuple[ProvisioningKey, str]:
    with tenant_context(tenant):
        pump_type, _ = DeviceType.objects.get_or_create(name="Pump")
        key = ProvisioningKey(name="Batch 7", device_type=pump_type, **limits)
        return key, issue_provisioning_key(key=key, now=timezone.now())


@pytest.fixture
def key(acme: Tenant) -> str:
    return make_key(acme)[1]


def ask(key: str, device: str = "pump-99", *, attempt: str = "", path: str = f"{API}/provision", **more: Any) -> Any:
    headers: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": attempt} if attempt else {}
    return APIClient().post(path, {"key": key, "device": device, **more}, **headers)


# --- Pure


def test_a_key_is_taken_apart_again_and_nothing_else_is() -> None:
    parts = make_provisioning_key("acme")
    assert parse_provisioning_key(str(parts)) == parts
    for text in ("", "iiot_prov_", str(parts) + "x", str(parts).replace("prov", "dev"), str(parts).replace("acme", "Acme")):
        assert parse_provisioning_key(text) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, None),
        ({"max_uses": 4}, None),
        ({"max_uses": 3}, "all 3"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
        ({"revoked_at": NOW}, "revoked"),
    ],
)
def test_a_key_says_why_it_may_not_be_used(facts: dict[str, Any], words: str | None) -> None:
    reason = why_unusable(**{"revoked_at": None, "expires_at": None, "use_count": 3, "max_uses": None, "now": NOW, **facts})
    assert (reason is None) if words is None else (reason is not None and words in reason)


# --- Devices


def test_a_device_registers_itself_and_can_send_at_once(key: str, acme: Tenant) -> None:
    answer = ask(key, name="Pump 99")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    told = answer.json()
    assert (told["device"], told["topic"]) == ("pump-99", "t/acme/pump-99/telemetry")
    token, password = told["credentials"]
    assert (token["kind"], password["kind"], password["username"]) == ("token", "mqtt", "acme/pump-99")
    with tenant_context(acme):
        device = Device.objects.get()
        assert (device.name, device.device_type.name, ProvisioningKey.objects.get().use_count) == ("Pump 99", "Pump", 1)
        assert authenticate_device_token(token=token["secret"], now=timezone.now()) is not None


def test_a_new_device_is_placed_where_the_key_says(acme: Tenant) -> None:
    with tenant_context(acme):
        hall = Site.objects.create(name="Hall")
    _, key = make_key(acme, site=hall)
    assert ask(key).status_code == 201
    with tenant_context(acme):
        assert Device.objects.get().site == hall


def test_a_wrong_key_is_refused_the_same_way_whatever_is_wrong(key: str, globex: Tenant) -> None:
    answers = [ask(text) for text in ("nonsense", str(make_provisioning_key("acme")), str(make_provisioning_key("unknown")))]
    answers.append(ask(key.replace("acme", "globex")))
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert ask(key, path=f"/t/globex{API}/provision").status_code == 404
    assert ask(key, path=f"/t/acme{API}/provision").status_code == 201


def test_a_key_ends_by_expiry_uses_and_revocation(acme: Tenant) -> None:
    _, twice = make_key(acme, max_uses=2)
    assert [ask(twice, f"p{n}").status_code for n in range(3)] == [201, 201, 401]
    row, revoked = make_key(acme)
    with tenant_context(acme):
        revoke_provisioning_key(key=row, now=timezone.now())
        expiring, expired = make_key(acme, expires_at=timezone.now() + timedelta(hours=1))
        ProvisioningKey.objects.filter(pk=expiring.pk).update(expires_at=timezone.now())
    for text, words in ((revoked, "revoked"), (expired, "expired"), (twice, "all 2")):
        answer = ask(text, "other")
        assert (answer.status_code, answer.json()["code"]) == (401, "provisioning_key_invalid")
        assert words in answer.json()["detail"]


def test_a_pre_registered_device_is_claimed_and_keeps_what_was_entered(key: str, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-99", name="Feed pump")
    assert ask(key, name="Mine").status_code == 201
    with tenant_context(acme):
        assert Device.objects.get().name == "Feed pump"


def test_a_device_that_had_credentials_is_never_taken_over(key: str, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device("pump-99")
        issue_credential(device=device, kind="token", now=timezone.now())
    assert (ask(key).status_code, ask(key).json()["code"]) == (409, "device_taken")
    with tenant_context(acme):
        revoke_credential(credential=device.credentials.get(), now=timezone.now())
        assert ProvisioningKey.objects.get().use_count == 0
    assert ask(key).status_code == 409


def test_another_type_and_a_disabled_device_are_refused(key: str, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("fan-1", type_name="Fan")
        make_device("pump-1", is_enabled=False)
    for device in ("fan-1", "pump-1"):
        assert ask(key, device).json()["code"] == "provisioning_refused"


def test_a_retry_of_the_same_attempt_gets_new_credentials_until_they_are_used(key: str, acme: Tenant) -> None:
    first, second = (ask(key, attempt="f3a9").json()["credentials"][0]["secret"] for _ in range(2))
    with tenant_context(acme):
        assert authenticate_device_token(token=first, now=timezone.now()) is None
        assert ProvisioningKey.objects.get().use_count == 1
    assert ask(key, attempt="else").status_code == 409
    assert ask(key).status_code == 409
    with tenant_context(acme):
        assert authenticate_device_token(token=second, now=timezone.now()) is not None
    assert ask(key, attempt="f3a9").status_code == 409


@pytest.mark.parametrize("device", ["", "a b", "x" * 65, "über", "a/b", "pump~2"])
def test_a_wrong_device_key_is_named(key: str, device: str) -> None:
    answer = ask(key, device)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert list(answer.json()["errors"]) == ["device"]


def test_too_many_requests_have_to_wait(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "PER_KEY", "1/m")
    answers = [ask(key, f"p{n}") for n in range(3)]
    assert answers[-1].status_code == 429
    assert int(answers[-1]["Retry-After"]) > 0


@pytest.mark.django_db(transaction=True)
def test_parallel_requests_never_exceed_the_uses(acme: Tenant) -> None:
    _, key = make_key(acme, max_uses=3)

    def register(n: int) -> bool:
        try:
            with tenant_context(acme):
                provision_device(key_text=key, device_key=f"p{n}", name="", attempt="", now=timezone.now())
        except ProvisioningKeyInvalidError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(register, range(10))) == 3


# --- Keys


def test_a_developer_makes_lists_and_revokes_keys(api: MakeApi, acme: Tenant, acme_developer: User, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        type_id = str(make_device().device_type.uuid)
    client = api(acme_developer, acme)
    made = client.post(f"{API}/provisioning-keys", {"name": "B", "device_type": type_id, "max_uses": 5})
    assert made.status_code == 201, made.content
    assert parse_provisioning_key(made.json()["secret"]) is not None
    listed = client.get(f"{API}/provisioning-keys").json()["results"]
    assert "secret" not in listed[0]
    assert made.json()["secret"].rpartition(".")[2] not in str(listed)
    assert client.delete(f"{API}/provisioning-keys/{made.json()['id']}").status_code == 204
    assert ask(made.json()["secret"]).status_code == 401
    for wrong in ({"max_uses": 0}, {"expires_at": "2020-01-01T00:00:00Z"}, {"prefix": "x"}):
        answer = client.post(f"{API}/provisioning-keys", {"name": "B", "device_type": type_id, **wrong})
        assert (answer.status_code, list(answer.json()["errors"])) == (400, list(wrong))


def test_a_key_is_made_and_revoked_in_the_admin(browser: MakeBrowser, acme: Tenant, acme_developer: User, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        type_id = make_device().device_type_id
    client: Client = browser(acme_developer)
    url = "/t/acme/admin/devices/provisioningkey/"
    form = {"name": "Batch 7", "device_type": type_id, "site": "", "max_uses": "", "expires_at_0": "", "expires_at_1": ""}
    page = client.post(f"{url}add/", form, follow=True).content.decode()
    assert "iiot_prov_acme." in page
    assert client.post(f"{url}add/", {**form, "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}).status_code == 200
    with tenant_context(acme):
        row = ProvisioningKey.objects.get()
    client.post(url, {"action": "revoke", "_selected_action": [str(row.pk)]})
    with tenant_context(acme):
        row.refresh_from_db()
    assert row.revoked_at is not None
