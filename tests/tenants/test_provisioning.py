"""Creating tenants in the background, and bringing lagging ones up to date."""

from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connections
from django_tenants.utils import tenant_context

from devices.models import Site
from tenants import provisioning
from tenants.connection import connection
from tenants.errors import SlugTakenError
from tenants.migrating import does_shared_schema_lag, list_lagging_schemas, migrate_schema
from tenants.models import Tenant, User
from tenants.services import create_tenant, provision_tenant, retry_provisioning
from tenants.types import MigrationProgress
from tests.conftest import PASSWORD, MakeApi, MakeBrowser, MakePerson

pytestmark = pytest.mark.django_db(transaction=True)


def read_progress_elsewhere() -> tuple[str, dict[str, Any]]:
    """Ask through a connection of its own, so only what is committed counts."""
    config = connections.settings["default"]
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"], user=config["USER"], password=config["PASSWORD"] or None, dbname=config["NAME"]
    ) as other:
        row = other.execute("SELECT status, progress FROM tenants_tenant WHERE slug = 'initech'").fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.fixture
def initech() -> Tenant:
    """A tenant that nobody has begun to create yet (the worker is not running here)."""
    return create_tenant(slug="initech", name="Initech")


def test_others_see_the_progress_while_the_migrations_run(initech: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    save = provisioning._save_progress

    def save_and_look(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        seen.append(read_progress_elsewhere())

    monkeypatch.setattr(provisioning, "_save_progress", save_and_look)
    provision_tenant(tenant_id=initech.pk)
    assert [progress["done"] for _, progress in seen] == sorted(progress["done"] for _, progress in seen)
    assert {status for status, _ in seen[:-1]} == {"creating"}
    assert seen[-1] == ("active", {"step": "ready", "done": seen[-1][1]["total"], "total": seen[-1][1]["total"], "error": ""})
    assert seen[-1][1]["total"] >= 4
    assert any(progress["step"].startswith("devices.") for _, progress in seen)


def test_a_new_tenant_is_empty_and_usable(initech: Tenant) -> None:
    tenant = provision_tenant(tenant_id=initech.pk)
    assert tenant.status == Tenant.Status.ACTIVE
    with tenant_context(tenant):
        Site.objects.create(name="Hall")
        assert Site.objects.count() == 1
    assert connection.schema_name == "public"
    assert list_lagging_schemas([tenant.schema_name]) == []
    assert provision_tenant(tenant_id=initech.pk).progress == tenant.progress


def test_a_failed_creation_says_why_and_a_retry_finishes_it(
    initech: Tenant, monkeypatch: pytest.MonkeyPatch, eager_celery: None, platform_admin: User, browser: MakeBrowser
) -> None:
    done = 0

    def break_off(schema: str, report: Any) -> int:
        def count(progress: MigrationProgress) -> None:
            nonlocal done
            report(progress)
            done = progress.done
            if progress.done == 2:
                raise DatabaseError("no space left on device\nDETAIL: …")

        return migrate_schema(schema, count)

    monkeypatch.setattr(provisioning, "migrate_schema", break_off)
    with pytest.raises(DatabaseError):
        provision_tenant(tenant_id=initech.pk)
    status, progress = read_progress_elsewhere()
    assert status == "failed"
    assert progress["error"].endswith("no space left on device")
    assert connection.schema_name == "public"
    monkeypatch.undo()
    client = browser(platform_admin)
    assert "no space left" in client.get("/admin/tenants/tenant/").content.decode()
    client.post("/admin/tenants/tenant/", {"action": "retry", "_selected_action": [str(initech.pk)]})
    status, progress = read_progress_elsewhere()
    assert (status, progress["error"]) == ("active", "")
    assert progress["total"] >= 1  # only what was left to do


def test_the_admin_creates_a_tenant_and_its_page_reloads_until_it_is_ready(platform_admin: User, browser: MakeBrowser) -> None:
    client = browser(platform_admin)
    answer = client.post("/admin/tenants/tenant/add/", {"name": "Initech", "slug": "initech"})
    tenant = Tenant.objects.get(slug="initech")
    page = answer.headers["Location"]
    assert page == f"/admin/tenants/tenant/{tenant.pk}/change/"
    creating = client.get(page)
    assert creating.headers["Refresh"] == "2"
    assert "waiting for a worker" in creating.content.decode()
    Tenant.objects.update(progress={"step": "devices.0001_initial", "done": 2, "total": 5, "error": ""})
    assert '<progress value="2" max="5"></progress>' in client.get(page).content.decode()
    assert client.get("/admin/tenants/tenant/").headers["Refresh"] == "2"
    provision_tenant(tenant_id=tenant.pk)
    assert "Refresh" not in client.get(page).headers


def test_the_api_creates_a_tenant_and_shows_how_far_it_is(platform_admin: User, api: MakeApi, eager_celery: None) -> None:
    client = api(platform_admin, None)
    created = client.post("/api/v1/tenants", {"slug": "initech", "name": "Initech"})
    assert created.status_code == 201, created.data
    assert created.data["status"] == "creating"
    shown = client.get(f"/api/v1/tenants/{created.data['id']}").data
    assert (shown["status"], shown["progress"]["step"]) == ("active", "ready")
    assert [tenant["slug"] for tenant in client.get("/api/v1/tenants").data["results"]] == ["acme", "globex", "initech"]


@pytest.mark.parametrize(
    ("slug", "status"),
    [("acme", 409), ("Acme", 400), ("a", 400), ("-x", 400), ("x" * 41, 400), ("pg_x", 400), ("public", 201), ("x\n", 400)],
)
def test_slugs_are_checked(platform_admin: User, api: MakeApi, slug: str, status: int) -> None:
    assert api(platform_admin, None).post("/api/v1/tenants", {"slug": slug, "name": "X"}).status_code == status


def test_two_slugs_never_share_a_schema(platform_admin: User, api: MakeApi) -> None:
    client = api(platform_admin, None)
    assert client.post("/api/v1/tenants", {"slug": "a-b", "name": "X"}).status_code == 201
    assert Tenant.objects.get(slug="a-b").schema_name == "t_a_b"


def test_only_platform_admins_see_and_create_tenants(acme_admin: User, acme: Tenant, api: MakeApi) -> None:
    client = api(acme_admin, acme)
    assert client.get("/api/v1/tenants").status_code == 403
    assert client.post("/api/v1/tenants", {"slug": "initech", "name": "Initech"}).status_code == 403
    assert api(None, None).get("/api/v1/tenants").status_code == 401


def test_only_tenants_that_lag_are_migrated_and_a_second_run_has_nothing_to_do(acme: Tenant, globex: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA t_globex CASCADE")
    assert list_lagging_schemas(["t_acme", "t_globex"]) == ["t_globex"]
    out = StringIO()
    call_command("migrate_tenants", stdout=out)
    assert "[1/1] t_globex:" in out.getvalue()
    assert "t_acme" not in out.getvalue()
    out = StringIO()
    call_command("migrate_tenants", stdout=out)
    assert out.getvalue() == "2 tenants, 0 of them migrated\n"
    assert not does_shared_schema_lag()


def test_a_lagging_shared_schema_is_migrated_first(acme: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM public.django_migrations WHERE app = 'tenants' AND name = '0002_built_in_roles'")
    assert does_shared_schema_lag()
    out = StringIO()
    call_command("migrate_tenants", stdout=out)
    assert out.getvalue().startswith("shared schema: migrating")
    assert not does_shared_schema_lag()


def test_migrating_an_up_to_date_schema_does_nothing(acme: Tenant) -> None:
    assert migrate_schema(acme.schema_name, lambda progress: None) == 0


def test_a_retry_leaves_a_ready_tenant_alone(acme: Tenant) -> None:
    retry_provisioning(tenant=acme)
    acme.refresh_from_db()
    assert acme.status == Tenant.Status.ACTIVE


def test_the_first_platform_admin_comes_from_the_command_line(acme_admin: User) -> None:
    out = StringIO()
    call_command("create_platform_admin", "First@iiot.example", stdout=out)
    user = User.objects.get(email="first@iiot.example")
    assert user.is_platform_admin
    assert user.check_password(out.getvalue().split()[-1])
    call_command("create_platform_admin", acme_admin.email, stdout=StringIO())
    acme_admin.refresh_from_db()
    assert acme_admin.is_platform_admin
    assert acme_admin.check_password(PASSWORD)
    with pytest.raises(CommandError):
        call_command("create_platform_admin", "nonsense", stdout=StringIO())


def test_a_platform_admin_creates_a_tenant_from_inside_another(make_person: MakePerson, acme: Tenant, api: MakeApi) -> None:
    person = make_person("both@iiot.example", acme, "admin", is_platform_admin=True)
    answer = api(person, acme).post("/api/v1/tenants", {"slug": "hooli", "name": "Hooli"})
    assert answer.status_code == 201, answer.data


@pytest.mark.parametrize("schema", ["t_hooli", "t_other"])
def test_of_two_who_want_a_slug_at_once_one_gets_a_conflict(monkeypatch: pytest.MonkeyPatch, schema: str) -> None:
    save = Tenant.save

    def save_second(tenant: Tenant, *args: Any, **kwargs: Any) -> None:
        if tenant.name == "Second":
            save(Tenant(slug="hooli", name="First", schema_name=schema))
        save(tenant, *args, **kwargs)

    monkeypatch.setattr(Tenant, "save", save_second)
    with pytest.raises(SlugTakenError):
        create_tenant(slug="hooli", name="Second")
