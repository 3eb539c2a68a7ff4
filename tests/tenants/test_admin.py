"""The admin: tenant models inside, shared models outside, each by the caller's rights."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from rest_framework.test import APIClient

from tenants.models import ApiKey, Membership, Role, Tenant, User
from tests.conftest import MakeBrowser, MakePerson

INSIDE = "/t/acme/admin"


def order(client: Client, index: str) -> list[str]:
    """Return the menu's apps and first models, as they stand."""
    return [f"{app['app_label']}.{app['models'][0]['object_name']}" for app in client.get(index).context["available_apps"]]


def labels(client: Client, index: str) -> set[str]:
    answer = client.get(index)
    assert answer.status_code == 200
    return {f"{app['app_label']}.{model['object_name']}" for app in answer.context["available_apps"] for model in app["models"]}


def test_outside_a_platform_admin_sees_shared_models_only(platform_admin: User, browser: MakeBrowser) -> None:
    seen = labels(browser(platform_admin), "/admin/")
    assert {"tenants.Tenant", "tenants.User", "tenants.Membership", "tenants.Role", "tenants.ApiKey", "tenants.Domain"} <= seen
    assert "django_celery_beat.PeriodicTask" in seen
    assert {label.split(".")[0] for label in seen} <= {"tenants", "django_celery_beat", "protocols"}


def test_inside_a_tenants_admin_sees_its_models_its_members_and_its_keys(acme_admin: User, browser: MakeBrowser) -> None:
    seen = labels(browser(acme_admin), f"{INSIDE}/")
    assert {"tenants.Membership", "tenants.ApiKey"} <= seen
    assert not {"tenants.Tenant", "tenants.User", "tenants.Role", "tenants.Domain", "tenants.TokenFamily"} & seen
    assert "django_celery_beat.PeriodicTask" not in seen


def test_the_menu_begins_with_what_is_worked_with_most(platform_admin: User, acme_admin: User, browser: MakeBrowser) -> None:
    assert order(browser(platform_admin), "/admin/") == [
        "tenants.Tenant",
        "protocols.ListenerState",
        "django_celery_beat.PeriodicTask",
    ]
    inside = order(browser(acme_admin), f"{INSIDE}/")
    assert inside[:4] == ["devices.Device", "connections.ModbusConnection", "rules.Rule", "alerting.Incident"]


def test_times_are_written_as_on_the_other_pages(platform_admin: User, browser: MakeBrowser) -> None:
    page = browser(platform_admin).get(f"/admin/tenants/user/{platform_admin.pk}/change/").content.decode()
    assert f"{platform_admin.created_at:%Y-%m-%d %H:%M:%S} UTC" in page


def test_inside_a_viewer_sees_the_plant_but_no_people_and_no_keys(acme_viewer: User, browser: MakeBrowser) -> None:
    assert not {"tenants.Membership", "tenants.ApiKey"} & labels(browser(acme_viewer), f"{INSIDE}/")


@pytest.mark.parametrize("page", ["tenants/tenant/", "tenants/user/", "django_celery_beat/periodictask/", "tenants/role/"])
def test_shared_models_cannot_be_reached_from_inside(acme_admin: User, browser: MakeBrowser, page: str) -> None:
    assert browser(acme_admin).get(f"{INSIDE}/{page}").status_code == 403


def test_people_without_a_place_get_404_and_the_anonymous_a_login(acme_admin: User, globex_admin: User, browser: MakeBrowser) -> None:
    assert browser(acme_admin).get("/admin/").status_code == 404
    assert browser(globex_admin).get(f"{INSIDE}/").status_code == 404
    assert browser(globex_admin).get(f"{INSIDE}/tenants/apikey/").status_code == 404
    assert browser(None).get("/admin/").headers["Location"] == "/login?next=%2Fadmin%2F"
    assert browser(None).get("/admin/login/").headers["Location"] == "/login?next=%2Fadmin%2F"


def test_every_page_of_the_platform_admin_opens(platform_admin: User, acme_admin: User, acme: Tenant, browser: MakeBrowser) -> None:
    client = browser(platform_admin)
    pages = [f"/admin/tenants/{model}/" for model in ("tenant", "user", "membership", "role", "domain", "apikey", "tokenfamily")]
    pages += [f"/admin/tenants/{model}/add/" for model in ("tenant", "user", "membership", "role", "domain")]
    pages += [
        f"/admin/tenants/tenant/{acme.pk}/change/",
        f"/admin/tenants/user/{acme_admin.pk}/change/",
        f"/admin/tenants/role/{Role.objects.get(name='viewer').pk}/change/",
        "/admin/django_celery_beat/periodictask/",
        "/admin/django_celery_beat/periodictask/add/",
        "/admin/password_change/",
    ]
    assert {page: client.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)
    assert client.get(f"/admin/tenants/tenant/{acme.pk}/history/").status_code == 404


def test_an_address_without_a_tenants_id_leads_back_to_the_start(platform_admin: User, browser: MakeBrowser) -> None:
    assert browser(platform_admin).get("/admin/tenants/tenant/foo/change/").status_code == 302


def test_a_key_made_in_the_admin_is_shown_once_and_works(acme_admin: User, acme: Tenant, browser: MakeBrowser) -> None:
    client = browser(acme_admin)
    answer = client.post(f"{INSIDE}/tenants/apikey/add/", {"name": "historian", "permissions": ["site:read"]}, follow=True)
    [secret] = set(re.findall(r"iiot_key_[\w.-]+", str(answer.context["messages"]._loaded_data[0])))
    key = ApiKey.objects.get(tenant=acme)
    assert key.created_by == acme_admin
    assert secret not in client.get(f"{INSIDE}/tenants/apikey/{key.pk}/change/").content.decode()
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert api.get("/api/v1/sites").status_code == 200
    client.post(f"{INSIDE}/tenants/apikey/", {"action": "revoke", "_selected_action": [str(key.pk)]})
    assert api.get("/api/v1/sites").status_code == 401
    assert LogEntry.objects.count() == 0


def test_nobody_hands_out_more_than_they_have(make_person: MakePerson, acme: Tenant, browser: MakeBrowser) -> None:
    acme.roles.create(name="people", permissions=["member:read", "member:write", "api_key:read", "api_key:write", "site:read"])
    client = browser(make_person("people@acme.example", acme, "people"))
    client.post(f"{INSIDE}/tenants/apikey/add/", {"name": "root", "permissions": ["*"]})
    assert not ApiKey.objects.exists()
    admin_role = Role.objects.get(tenant=None, name="admin")
    client.post(f"{INSIDE}/tenants/membership/add/", {"email": "x@acme.example", "roles": [str(admin_role.pk)]})
    assert not User.objects.filter(email="x@acme.example").exists()
    own = Membership.objects.get(user__email="people@acme.example")
    client.post(f"{INSIDE}/tenants/membership/{own.pk}/change/", {"roles": [str(admin_role.pk)], "is_active": "on"})
    assert [role.name for role in own.roles.all()] == ["people"]


def test_a_tenants_admin_adds_members_by_address_and_sees_only_their_own(
    acme_admin: User, globex_admin: User, acme: Tenant, globex: Tenant, browser: MakeBrowser
) -> None:
    client = browser(acme_admin)
    viewer = Role.objects.get(tenant=None, name="viewer")
    answer = client.post(f"{INSIDE}/tenants/membership/add/", {"email": "Admin@Globex.example", "roles": [str(viewer.pk)]})
    assert answer.status_code == 302
    added = Membership.objects.get(user=globex_admin, tenant=acme)
    assert [role.name for role in added.roles.all()] == ["viewer"]
    foreign = Membership.objects.get(user=globex_admin, tenant=globex)
    assert client.get(f"{INSIDE}/tenants/membership/{added.pk}/change/").status_code == 200
    assert client.get(f"{INSIDE}/tenants/membership/{foreign.pk}/change/").status_code == 302
    assert client.post(f"{INSIDE}/tenants/membership/{foreign.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Membership.objects.filter(pk=foreign.pk).exists()
    assert "globex" not in client.get(f"{INSIDE}/tenants/membership/").content.decode().replace("admin@globex.example", "").lower()
    stranger = client.post(f"{INSIDE}/tenants/membership/add/", {"email": "new@acme.example", "roles": [str(viewer.pk)]})
    assert stranger.status_code == 302
    assert not User.objects.get(email="new@acme.example").has_usable_password()


def test_a_person_made_in_the_admin_gets_a_password_that_is_shown_once(platform_admin: User, browser: MakeBrowser) -> None:
    client = browser(platform_admin)
    answer = client.post("/admin/tenants/user/add/", {"email": "New@iiot.example", "full_name": "Nora", "is_active": "on"}, follow=True)
    password = str(next(iter(answer.context["messages"]))).split()[-1]
    user = User.objects.get(email="new@iiot.example")
    assert user.check_password(password)


def test_built_in_roles_cannot_be_changed(platform_admin: User, browser: MakeBrowser) -> None:
    role = Role.objects.get(tenant=None, name="viewer")
    answer = browser(platform_admin).post(f"/admin/tenants/role/{role.pk}/change/", {"name": "viewer", "permissions": ["*"]})
    assert answer.status_code == 403
    role.refresh_from_db()
    assert "*" not in role.permissions


def test_the_role_filter_names_no_other_tenants_roles(acme_admin: User, globex_admin: User, globex: Tenant, browser: MakeBrowser) -> None:
    secret = globex.roles.create(name="secret-project")
    Membership.objects.get(user=globex_admin).roles.add(secret)
    assert "secret-project" not in browser(acme_admin).get(f"{INSIDE}/tenants/membership/").content.decode()


def test_inside_members_are_not_deleted(acme_admin: User, acme_viewer: User, browser: MakeBrowser) -> None:
    client = browser(acme_admin)
    row = Membership.objects.get(user=acme_viewer)
    assert client.post(f"{INSIDE}/tenants/membership/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    client.post(f"{INSIDE}/tenants/membership/", chosen)
    assert Membership.objects.filter(pk=row.pk).exists()


def test_the_last_administrator_stays(acme_admin: User, make_person: MakePerson, acme: Tenant, browser: MakeBrowser) -> None:
    client = browser(acme_admin)
    own = Membership.objects.get(user=acme_admin)
    admin, viewer = (str(Role.objects.get(tenant=None, name=name).pk) for name in ("admin", "viewer"))
    url = f"{INSIDE}/tenants/membership/{own.pk}/change/"
    assert "last administrator" in client.post(url, {"roles": [admin]}).content.decode()
    assert "last administrator" in client.post(url, {"roles": [viewer], "is_active": "on"}).content.decode()
    make_person("second@acme.example", acme, "admin")
    assert client.post(url, {"roles": [viewer], "is_active": "on"}).status_code == 302
    assert [role.name for role in own.roles.all()] == ["viewer"]
