"""The page of a device's credentials."""

import re

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential
from devices.services import authenticate_device_token, issue_credential
from devices.types import IssuedCredential
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser
from tests.devices.certificates import as_pem, make_certificate


@pytest.fixture
def url(pump: Device) -> str:
    return f"/t/acme/devices/{pump.uuid}/credentials"


@pytest.fixture
def token(acme: Tenant, pump: Device) -> IssuedCredential:
    with tenant_context(acme):
        return issue_credential(device=pump, kind="token", now=timezone.now())


@pytest.fixture
def people(acme_viewer: User, acme_auditor: User, globex_admin: User) -> dict[str, User]:
    return {"viewer": acme_viewer, "auditor": acme_auditor, "outsider": globex_admin}


def secret_in(page: str) -> str:
    found = re.search(r'<pre id="issued-secret">([^<]+)</pre>', page)
    assert found is not None
    return found[1]


def test_a_developer_issues_rotates_and_revokes(browser: MakeBrowser, acme_developer: User, acme: Tenant, pump: Device, url: str) -> None:
    client = browser(acme_developer)
    issued = client.post(f"{url}/issue", {"kind": "token"})
    assert "no-store" in issued["Cache-Control"]
    first = secret_in(issued.content.decode())
    assert "curl" in issued.content.decode()
    assert first not in client.get(url).content.decode()
    with tenant_context(acme):
        credential = DeviceCredential.objects.get()
    second = secret_in(client.post(f"{url}/{credential.pk}/rotate", {"overlap_hours": "1"}).content.decode())
    with tenant_context(acme):
        for secret in (first, second):
            assert authenticate_device_token(token=secret, now=timezone.now()) is not None
    assert client.post(f"{url}/{credential.pk}/revoke").status_code == 302
    with tenant_context(acme):
        assert authenticate_device_token(token=first, now=timezone.now()) is None


def test_mistakes_are_told_in_words(browser: MakeBrowser, acme_developer: User, url: str, token: IssuedCredential) -> None:
    client = browser(acme_developer)
    pem = as_pem(make_certificate("else", now=timezone.now()))
    for form, words in (
        ({"kind": "spell"}, "Choose a kind"),
        ({"kind": "x509"}, "Certificate (PEM): This field is required"),
        ({"kind": "x509", "certificate": pem}, "must name its device"),
        ({"kind": "token", "last_day": "2020-01-01"}, "expiry lies in the past"),
    ):
        answer = client.post(f"{url}/issue", form)
        assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert client.post(f"{url}/{token.credential_id}/rotate", {"overlap_hours": "5"}).status_code == 400


def test_only_those_who_may_see_and_change(
    browser: MakeBrowser, people: dict[str, User], acme: Tenant, url: str, token: IssuedCredential
) -> None:
    actions = (f"{url}/issue", f"{url}/{token.credential_id}/rotate", f"{url}/{token.credential_id}/revoke")
    assert browser(people["viewer"]).get(url).status_code == 403
    auditor, outsider = browser(people["auditor"]), browser(people["outsider"])
    assert "/rotate" not in auditor.get(url).content.decode()
    for action in actions:
        assert auditor.post(action, {"kind": "token"}).status_code == 403
        assert outsider.post(action, {"kind": "token"}).status_code == 404
        assert outsider.post(action.replace("acme", "globex"), {"kind": "token"}).status_code == 404
    assert outsider.get(url).status_code == 404
    with tenant_context(acme):
        assert DeviceCredential.objects.get().revoked_at is None


def test_the_devices_page_shows_credentials_to_those_who_may(
    browser: MakeBrowser, acme_developer: User, acme_viewer: User, pump: Device, url: str, token: IssuedCredential
) -> None:
    page = f"/t/acme/devices/{pump.uuid}"
    assert url in browser(acme_developer).get(page).content.decode()
    assert "credentials-title" not in browser(acme_viewer).get(page).content.decode()
