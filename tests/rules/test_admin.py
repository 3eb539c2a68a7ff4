"""Rules in the admin: the threshold as form fields, every change through the services."""

from typing import Any

import pytest
from django.test import Client
from django_tenants.utils import tenant_context

from alerting.models import Incident
from devices.models import Device, Metric
from rules.models import Rule
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice
from tests.rules.conftest import HOT, MakeReading, MakeRule, evaluate

ADMIN = "/t/acme/admin/rules"
FORM = {"name": "Hot", "severity": "high", "is_enabled": "on", "metric": "temperature", "operator": ">", "threshold": "80"}


@pytest.fixture
def developer(browser: MakeBrowser, acme_developer: User) -> Client:
    return browser(acme_developer)


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device()


def test_a_rule_is_added_with_form_fields(developer: Client, acme: Tenant, pump: Device) -> None:
    response = developer.post(f"{ADMIN}/rule/add/", {**FORM, "clear_threshold": "75", "device": pump.pk})
    assert response.status_code == 302, response.context["errors"]
    with tenant_context(acme):
        rule = Rule.objects.get()
    assert (rule.condition, rule.device_id) == (HOT | {"clear_threshold": 75.0}, pump.pk)


def test_a_new_rule_has_no_dates_and_the_page_names_the_tenant(developer: Client, acme: Tenant) -> None:
    page = developer.get(f"{ADMIN}/rule/add/").content.decode()
    assert "Created at" not in page
    assert acme.name in page
    types = developer.get("/t/acme/admin/devices/devicetype/add/").content.decode()
    assert "As hours:minutes:seconds (00:05:00)" in types


def test_the_form_offers_the_metrics_that_there_are(developer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        Metric.objects.create(device_type=pump.device_type, key="state", data_type="text")
    page = developer.get(f"{ADMIN}/rule/add/").content.decode()
    assert 'list="known-metrics"' in page
    assert f'<option value="temperature">{pump.device_type.name}</option>' in page
    assert '<option value="state">' not in page
    refused = developer.post(f"{ADMIN}/rule/add/", {**FORM, "metric": "temprature", "device": pump.pk})
    assert "It has: temperature." in str(refused.context["adminform"].form.errors["metric"])


@pytest.mark.parametrize(
    ("change", "field"),
    [({"clear_threshold": "90"}, "clear_threshold"), ({"metric": "vibration"}, "metric"), ({"threshold": "nan"}, "threshold")],
)
def test_a_mistake_shows_at_its_field(change: dict[str, str], field: str, developer: Client, pump: Device) -> None:
    response = developer.post(f"{ADMIN}/rule/add/", {**FORM, "device": pump.pk, **change})
    assert response.status_code == 200
    assert list(response.context["adminform"].form.errors) == [field]


def test_a_change_goes_through_the_service(
    developer: Client, acme: Tenant, pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        rule = make_rule()
        evaluate([reading(pump, 99)])
    page = developer.get(f"{ADMIN}/rule/{rule.pk}/change/")
    assert page.context["adminform"].form.initial["threshold"] == 80
    assert developer.post(f"{ADMIN}/rule/{rule.pk}/change/", {**FORM, "threshold": "85"}).status_code == 302
    with tenant_context(acme):
        assert Rule.objects.get().version == 2
        assert Incident.objects.get().state == "resolved"


@pytest.mark.parametrize("action", ["disable", "delete_selected"])
def test_actions_on_the_list_end_what_is_firing(
    action: str, developer: Client, acme: Tenant, pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        rule = make_rule()
        evaluate([reading(pump, 99)])
    data: dict[str, Any] = {"action": action, "_selected_action": [str(rule.pk)], "post": "yes"}
    assert developer.post(f"{ADMIN}/rule/", data).status_code == 302
    with tenant_context(acme):
        assert Incident.objects.get().state == "resolved"


def test_a_viewer_looks_and_changes_nothing(browser: MakeBrowser, acme_viewer: User, acme: Tenant, make_rule: MakeRule) -> None:
    with tenant_context(acme):
        rule = make_rule()
    viewer = browser(acme_viewer)
    assert viewer.get(f"{ADMIN}/rule/").status_code == viewer.get(f"{ADMIN}/rulestate/").status_code == 200
    assert viewer.get(f"{ADMIN}/rule/add/").status_code == 403
    assert viewer.post(f"{ADMIN}/rule/{rule.pk}/change/", FORM).status_code == 403


def test_what_rules_know_cannot_be_changed_by_hand(browser: MakeBrowser, acme_admin: User) -> None:
    assert browser(acme_admin).get(f"{ADMIN}/rulestate/add/").status_code == 403


def test_an_outsider_finds_no_admin(browser: MakeBrowser, globex_admin: User) -> None:
    assert browser(globex_admin).get(f"{ADMIN}/rule/").status_code == 404


def test_a_device_can_be_deleted_with_what_rules_know_of_it(
    developer: Client, acme: Tenant, pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        make_rule()
        evaluate([reading(pump, 99)])
    assert developer.post(f"/t/acme/admin/devices/device/{pump.pk}/delete/", {"post": "yes"}).status_code == 302
    with tenant_context(acme):
        assert not Device.objects.exists()
