"""Who may open which page, and who may press which button."""

import uuid
from collections import defaultdict
from collections.abc import Iterator

import pytest
from django.urls import URLResolver, get_resolver
from django_tenants.utils import tenant_context

from alerting.models import Incident
from devices.models import Device
from tenants.models import Role, Tenant, User
from tests.conftest import MakeBrowser, MakePerson
from tests.iiot_site.web.conftest import OpenIncident

PAGES = [
    "",
    "overview/figures",
    "overview/silent",
    "overview/incidents",
    "overview/rate",
    "devices",
    "devices/{device}",
    "devices/{device}/incidents",
    "devices/{device}/chart?metric=temperature&span=24h",
    "devices/{device}/now?metric=temperature",
    "devices/{device}/connection",
    "ingest",
    "ingest?span=7d",
    "ingest/rejected",
    "listeners",
    "opcua",
    "codec-bench",
    "incidents",
    "incidents/count",
    "incidents/{incident}",
]
ACTIONS = ["acknowledge", "investigate", "resolve", "notes"]


@pytest.fixture
def ids(pump: Device, open_incident: OpenIncident) -> dict[str, uuid.UUID]:
    return {"device": pump.uuid, "incident": open_incident().pk}


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_for_members_only(
    page: str, ids: dict[str, uuid.UUID], browser: MakeBrowser, acme_viewer: User, globex_admin: User
) -> None:
    path = f"/t/acme/{page.format(**ids)}"
    assert browser(acme_viewer).get(path).status_code == 200
    assert browser(globex_admin).get(path).status_code == 404
    assert browser(None).get(path)["Location"].startswith("/login?next=%2Ft%2Facme%2F")


@pytest.mark.parametrize(
    "page", ["devices/{device}", "devices/{device}/incidents", "devices/{device}/chart", "devices/{device}/now", "incidents/{incident}"]
)
def test_what_belongs_to_another_tenant_does_not_exist_here(
    page: str, ids: dict[str, uuid.UUID], browser: MakeBrowser, globex_admin: User
) -> None:
    assert browser(globex_admin).get(f"/t/globex/{page.format(**ids)}").status_code == 404


@pytest.mark.parametrize("action", ACTIONS)
def test_a_viewer_sees_no_buttons_and_posts_in_vain(
    action: str, ids: dict[str, uuid.UUID], browser: MakeBrowser, acme_viewer: User, globex_admin: User, acme: Tenant
) -> None:
    path = f"/t/acme/incidents/{ids['incident']}"
    viewer = browser(acme_viewer)
    for page in (path, "/t/acme/", "/t/acme/incidents", f"/t/acme/devices/{ids['device']}"):
        assert "/acknowledge" not in viewer.get(page).content.decode()
    assert viewer.post(f"{path}/{action}", {"text": "hello"}).status_code == 403
    assert browser(globex_admin).post(f"{path}/{action}", {"text": "hello"}).status_code == 404
    with tenant_context(acme):
        assert Incident.objects.get().state == "new"
        assert Incident.objects.get().events.count() == 1


def test_a_member_without_any_role_is_told_so(browser: MakeBrowser, make_person: MakePerson, acme: Tenant) -> None:
    answer = browser(make_person("idle@acme.example", acme)).get("/t/acme/")
    assert answer.status_code == 403
    assert "Your role does not allow this" in answer.content.decode()


def test_pages_carry_a_policy_without_unsafe_sources_and_no_inline_handlers(
    browser: MakeBrowser, acme_operator: User, ids: dict[str, uuid.UUID]
) -> None:
    for page in PAGES:
        answer = browser(acme_operator).get(f"/t/acme/{page.format(**ids)}")
        policy = answer["Content-Security-Policy"]
        assert "unsafe" not in policy
        body = answer.content.decode()
        assert not [word for word in (" onclick=", " style=", "javascript:", "http://cdn", "https://") if word in body]


def test_values_show_only_to_those_who_may_read_telemetry(
    acme: Tenant, acme_viewer: User, acme_operator: User, browser: MakeBrowser, pump: Device
) -> None:
    role = Role.objects.create(tenant=acme, name="janitor", permissions=["device:read"])
    acme_viewer.memberships.get(tenant=acme).roles.set([role])
    for path in (f"devices/{pump.uuid}", ""):
        shown, hidden = (browser(user).get(f"/t/acme/{path}").content.decode() for user in (acme_operator, acme_viewer))
        assert ("latest-values" in shown, "Rejected messages" in shown) in {(True, False), (False, True)}
        assert "latest-values" not in hidden
        assert "Rejected messages" not in hidden


def test_an_incidents_chart_shows_only_to_those_who_may_read_telemetry(
    acme: Tenant, acme_viewer: User, acme_operator: User, browser: MakeBrowser, open_incident: OpenIncident
) -> None:
    role = Role.objects.create(tenant=acme, name="janitor", permissions=["device:read", "incident:read"])
    acme_viewer.memberships.get(tenant=acme).roles.set([role])
    incident = open_incident()
    shown, hidden = (browser(user).get(f"/t/acme/incidents/{incident.pk}").content.decode() for user in (acme_operator, acme_viewer))
    assert "incident-chart" in shown
    assert "incident-chart" not in hidden


def test_a_nul_in_the_address_is_refused_on_every_page(browser: MakeBrowser, acme_viewer: User, pump: Device) -> None:
    client = browser(acme_viewer)
    for path in ("devices?q=a%00b", "devices?site=%00", "incidents?q=%00x", f"devices/{pump.uuid}/chart?metric=temp%00"):
        assert client.get(f"/t/acme/{path}").status_code == 400, path


def list_names(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and address of every page and endpoint; the admin's names have a namespace."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if not pattern.namespace:
                yield from list_names(pattern, f"{prefix}{pattern.pattern}")
        elif pattern.name:
            yield pattern.name, f"{prefix}{pattern.pattern}"


def test_no_name_leads_to_two_addresses() -> None:
    addresses = defaultdict(set)
    for name, address in list_names(get_resolver("iiot_site.urls_tenant")):
        addresses[name].add(address)
    assert {name: found for name, found in addresses.items() if len(found) > 1} == {}
