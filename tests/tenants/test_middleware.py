"""Which tenant a request reaches, and that outsiders see no difference between a foreign tenant and none."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import Site
from tenants.connection import connection
from tenants.models import ApiKey, Domain, Tenant, User
from tenants.services import issue_api_key, revoke_api_key, set_suspended
from tests.conftest import MakeApi, MakeBrowser, MakePerson


def names(answer: object) -> list[str]:
    return [row["name"] for row in answer.json()["results"]]  # type: ignore[attr-defined]


@pytest.fixture
def _sites(acme: Tenant, globex: Tenant) -> None:
    for tenant, name in ((acme, "Acme hall"), (globex, "Globex hall")):
        connection.set_tenant(tenant)
        Site.objects.create(name=name)
    connection.set_schema_to_public()


@pytest.mark.usefixtures("_sites")
@pytest.mark.parametrize("path", ["/api/v1/sites", "/t/acme/api/v1/sites", "/t/acme/api/v1/sites/"])
def test_a_token_leads_into_its_own_tenant(acme_viewer: User, acme: Tenant, api: MakeApi, path: str) -> None:
    answer = api(acme_viewer, acme).get(path)
    assert names(answer) == ["Acme hall"]
    assert connection.schema_name == "public"


@pytest.mark.usefixtures("_sites")
def test_a_token_that_contradicts_path_or_header_is_a_404(acme_viewer: User, acme: Tenant, globex: Tenant, api: MakeApi) -> None:
    client = api(acme_viewer, acme)
    for path in ("/t/globex/api/v1/sites", "/t/unknown/api/v1/sites"):
        assert client.get(path).status_code == 404
    assert client.get("/api/v1/sites", HTTP_X_TENANT="globex").status_code == 404
    assert client.get("/api/v1/sites", HTTP_X_TENANT="unknown").status_code == 404
    assert names(client.get("/api/v1/sites", HTTP_X_TENANT="acme")) == ["Acme hall"]
    assert client.get("/t/acme/api/v1/sites", HTTP_X_TENANT="globex").status_code == 404


@pytest.mark.usefixtures("_sites")
def test_a_session_reaches_the_tenant_of_the_path_or_of_x_tenant(acme_viewer: User, browser: MakeBrowser) -> None:
    client = browser(acme_viewer)
    assert names(client.get("/t/acme/api/v1/sites")) == ["Acme hall"]
    assert names(client.get("/api/v1/sites", headers={"X-Tenant": "acme"})) == ["Acme hall"]
    assert client.get("/t/globex/api/v1/sites").status_code == 404
    assert client.get("/t/unknown/api/v1/sites").status_code == 404
    assert client.get("/api/v1/sites", headers={"X-Tenant": "globex"}).status_code == 404
    missing = client.get("/api/v1/sites")
    assert (missing.status_code, missing.json()["code"]) == (400, "tenant_missing")


def test_a_session_needs_a_csrf_token_to_write(acme_admin: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(acme_admin)
    answer = client.post("/t/acme/api/v1/sites", {"name": "Hall"}, content_type="application/json")
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["", "/", "/devices", "/nothing-here", "/admin/", "/admin/devices/device/"])
def test_anonymous_people_are_sent_to_the_login_whatever_the_slug(db: None, path: str) -> None:
    for slug in ("acme", "unknown"):
        answer = Client().get(f"/t/{slug}{path}")
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"/login?next=%2Ft%2F{slug}{path.replace('/', '%2F')}"


@pytest.mark.parametrize("path", ["/sites", "/auth/me", "/nothing-here"])
def test_the_api_answers_anonymous_callers_the_same_whatever_the_slug(db: None, path: str) -> None:
    answers = [APIClient().get(f"/t/{slug}/api/v1{path}") for slug in ("acme", "unknown")]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].content == answers[1].content
    assert answers[0].status_code in {401, 404}


@pytest.mark.parametrize("path", ["/", "/devices", "/nothing-here", "/admin/", "/api/v1/sites"])
def test_a_foreign_tenant_and_an_unknown_one_are_the_same_404(globex_admin: User, browser: MakeBrowser, path: str) -> None:
    client = browser(globex_admin)
    foreign, unknown = (client.get(f"/t/{slug}{path}") for slug in ("acme", "unknown"))
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert b"Acme" not in foreign.content
    assert connection.schema_name == "public"


def test_a_platform_admin_sees_no_tenants_data(platform_admin: User, browser: MakeBrowser) -> None:
    client = browser(platform_admin)
    assert client.get("/t/acme/").status_code == 404
    assert client.get("/t/acme/api/v1/sites").status_code == 404
    assert client.get("/t/acme/admin/").status_code == 404


@pytest.mark.parametrize("status", [Tenant.Status.SUSPENDED, Tenant.Status.CREATING, Tenant.Status.FAILED])
def test_a_tenant_that_is_not_active_is_a_404_for_its_members(
    acme_admin: User, acme: Tenant, browser: MakeBrowser, status: Tenant.Status
) -> None:
    Tenant.objects.filter(pk=acme.pk).update(status=status)
    assert browser(acme_admin).get("/t/acme/devices").status_code == 404


def test_the_tenants_own_host_needs_no_prefix(
    acme_viewer: User, acme: Tenant, globex: Tenant, browser: MakeBrowser, settings: object
) -> None:
    settings.ALLOWED_HOSTS = ["plant.acme.example"]  # type: ignore[attr-defined]
    Domain.objects.create(domain="plant.acme.example", tenant=acme, is_primary=True)
    client = browser(acme_viewer)
    client.defaults["HTTP_HOST"] = "plant.acme.example"
    assert client.get("/api/v1/sites").status_code == 200
    assert client.get("/t/globex/api/v1/sites").status_code == 404
    assert client.get("/t/acme/api/v1/sites").status_code == 200
    assert client.get("/admin/").status_code == 200
    anonymous = Client(HTTP_HOST="plant.acme.example")
    assert anonymous.get("/devices").headers["Location"] == "/login?next=%2Fdevices"
    assert anonymous.get("/login").status_code == 200


def test_htmx_is_told_where_to_log_in(db: None) -> None:
    answer = Client().get("/t/acme/devices", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login?next=%2Ft%2Facme%2Fdevices")


@pytest.mark.usefixtures("_sites")
def test_an_api_key_leads_into_its_tenant_with_its_own_rights(acme: Tenant, acme_admin: User) -> None:
    issued = issue_api_key(tenant=acme, name="historian", permissions=["site:read"], created_by=acme_admin)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    assert names(client.get("/api/v1/sites")) == ["Acme hall"]
    assert client.post("/api/v1/sites", {"name": "x"}).status_code == 403
    assert client.get("/api/v1/devices").status_code == 403
    assert client.get("/t/globex/api/v1/sites").status_code == 404
    assert client.get("/api/v1/auth/me").status_code == 403
    assert issued.secret.rpartition(".")[2] not in str(ApiKey.objects.values_list())


@pytest.mark.parametrize("fault", ["revoked", "expired", "wrong secret", "wrong prefix", "suspended"])
def test_an_api_key_that_is_not_good_is_a_401(acme: Tenant, fault: str) -> None:
    now = timezone.now()
    issued = issue_api_key(
        tenant=acme,
        name="historian",
        permissions=["site:read"],
        created_by=None,
        expires_at=now - timedelta(seconds=1) if fault == "expired" else now + timedelta(days=1),
    )
    token = issued.secret
    if fault == "revoked":
        revoke_api_key(key=issued.key)
    elif fault == "wrong secret":
        token = token[:-1] + ("a" if token[-1] != "a" else "b")
    elif fault == "wrong prefix":
        token = token.replace(issued.key.prefix, "0" * 12)
    elif fault == "suspended":
        set_suspended(tenant=acme, is_suspended=True)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    answer = client.get("/api/v1/sites")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


def test_the_last_use_of_a_key_is_written_once_a_minute(acme: Tenant) -> None:
    issued = issue_api_key(tenant=acme, name="historian", permissions=["site:read"], created_by=None)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    client.get("/api/v1/sites")
    first = ApiKey.objects.get().last_used_at
    client.get("/api/v1/sites")
    assert first is not None
    assert ApiKey.objects.get().last_used_at == first


def test_a_role_of_another_tenant_gives_nothing(make_person: MakePerson, acme: Tenant, globex: Tenant, api: MakeApi) -> None:
    person = make_person("x@acme.example", acme, "viewer")
    membership = person.memberships.get()
    role = globex.roles.create(name="boss", permissions=["*"])
    membership.roles.add(role)
    assert api(person, acme).post("/api/v1/sites", {"name": "x"}).status_code == 403
