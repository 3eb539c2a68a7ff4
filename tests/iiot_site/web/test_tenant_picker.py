"""Where people arrive after logging in."""

from tenants.models import Tenant, User
from tenants.services import ensure_membership
from tests.conftest import MakeBrowser, MakePerson


def test_one_tenant_is_entered_at_once(browser: MakeBrowser, acme_viewer: User) -> None:
    assert browser(acme_viewer).get("/")["Location"] == "/t/acme/"


def test_several_tenants_are_offered_and_no_others(browser: MakeBrowser, acme_viewer: User, globex: Tenant) -> None:
    ensure_membership(user=acme_viewer, tenant=globex, role_names=["operator"])
    Tenant.objects.create(slug="hidden", schema_name="t_hidden", name="Hidden", status=Tenant.Status.ACTIVE)
    page = browser(acme_viewer).get("/").content.decode()
    assert 'href="/t/acme/"' in page
    assert 'href="/t/globex/"' in page
    assert "Hidden" not in page


def test_who_belongs_nowhere_reads_what_to_do(browser: MakeBrowser, make_person: MakePerson) -> None:
    page = browser(make_person("new@example.com")).get("/").content.decode()
    assert "You do not belong to any tenant yet" in page
    assert "new@example.com" in page


def test_the_platform_admin_sees_how_a_tenant_comes_up(browser: MakeBrowser, platform_admin: User) -> None:
    Tenant.objects.create(slug="fresh", schema_name="t_fresh", name="Fresh", progress={"step": "Migrating", "done": 3, "total": 9})
    Tenant.objects.create(
        slug="broken", schema_name="t_broken", name="Broken", status=Tenant.Status.FAILED, progress={"error": "disk full <b>"}
    )
    page = browser(platform_admin).get("/").content.decode()
    assert 'href="/admin/"' in page
    assert "Migrating" in page
    assert 'value="3" max="9"' in page
    assert "disk full &lt;b&gt;" in page
    assert "every 2s" in page


def test_the_switch_offers_the_other_tenants_only(browser: MakeBrowser, acme_viewer: User, globex: Tenant) -> None:
    assert "Switch to" not in browser(acme_viewer).get("/t/acme/").content.decode()
    ensure_membership(user=acme_viewer, tenant=globex, role_names=["viewer"])
    assert 'href="/t/globex/"' in browser(acme_viewer).get("/t/acme/").content.decode()
