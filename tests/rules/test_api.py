"""Rules over the API, with people of each role."""

import uuid
from typing import Any

import pytest
from django_tenants.utils import tenant_context
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerting.models import Incident
from devices.models import Device, Site
from rules.models import Rule
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice
from tests.rules.conftest import HOT, MakeReading, MakeRule, evaluate

RULES = "/api/v1/rules"


@pytest.fixture
def developer(api: MakeApi, acme: Tenant, acme_developer: User) -> APIClient:
    return api(acme_developer, acme)


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device()


def test_a_rule_is_created_read_changed_and_deleted(developer: APIClient, pump: Device) -> None:
    created = developer.post(RULES, {"name": "Hot", "severity": "critical", "condition": HOT, "device": str(pump.uuid)})
    assert created.status_code == 201, created.json()
    rule = created.json()
    assert rule["device"] == {"id": str(pump.uuid), "name": "Pump 7"}
    assert (rule["condition"], rule["version"], rule["is_enabled"], rule["site"]) == (HOT, 1, True, None)
    url = f"{RULES}/{rule['id']}"
    changed = developer.patch(url, {"condition": HOT | {"clear_threshold": 70}}).json()
    assert (changed["version"], changed["condition"]["clear_threshold"]) == (2, 70)
    assert developer.get(url).json() == changed
    assert developer.delete(url).status_code == 204
    assert developer.get(url).status_code == 404


def test_disabling_withdraws_and_enabling_starts_afresh(
    developer: APIClient, acme: Tenant, pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        rule = make_rule()
        evaluate([reading(pump, 99)])
    assert developer.post(f"{RULES}/{rule.pk}/disable").json()["is_enabled"] is False
    with tenant_context(acme):
        assert Incident.objects.get().state == "resolved"
    answer = developer.post(f"{RULES}/{rule.pk}/enable").json()
    assert (answer["is_enabled"], answer["version"]) == (True, 1)


@pytest.mark.parametrize(
    ("change", "field", "part"),
    [
        ({"condition": HOT | {"clear_threshold": 90}}, "condition", "clear_threshold"),
        ({"condition": HOT | {"operator": "=>"}}, "condition", "operator"),
        ({"condition": {"type": "magic"}}, "condition", "type"),
        ({"condition": [1]}, "condition", "non_field_errors"),
        ({"condition": HOT | {"metric": "vibration"}}, "condition", "metric"),
        ({"device": str(uuid.uuid4())}, "device", None),
        ({"device": "pump-7"}, "device", None),
        ({"site": str(uuid.uuid4())}, "site", None),
        ({"device_type": str(uuid.uuid4())}, "device_type", None),
        ({"severity": "apocalyptic"}, "severity", None),
        ({"version": 7}, "version", None),
        ({"name": ""}, "name", None),
    ],
)
def test_a_mistake_is_named_with_its_field(
    change: dict[str, Any], field: str, part: str | None, developer: APIClient, pump: Device
) -> None:
    answer = developer.post(RULES, {"name": "Hot", "condition": HOT, "device": str(pump.uuid)} | change)
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert list(errors) == [field]
    if part is not None:
        assert list(errors[field]) == [part]


def test_a_device_of_another_tenant_looks_like_an_unknown_one(
    developer: APIClient, pump: Device, globex: Tenant, make_device: MakeDevice
) -> None:
    with tenant_context(globex):
        foreign = make_device()
    body = {"name": "Hot", "condition": HOT}
    answers = [developer.post(RULES, {**body, "device": str(id_)}).json() for id_ in (foreign.uuid, uuid.uuid4())]
    assert answers[0] == answers[1]
    assert "device" in answers[0]["errors"]


def test_a_name_is_used_once(developer: APIClient, pump: Device) -> None:
    assert developer.post(RULES, {"name": "Hot", "condition": HOT}).status_code == 201
    again = developer.post(RULES, {"name": "Hot", "condition": HOT})
    assert (again.status_code, list(again.json()["errors"])) == (400, ["name"])


def test_the_list_can_be_narrowed_and_costs_the_same_for_many(
    developer: APIClient, acme: Tenant, pump: Device, make_rule: MakeRule, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with tenant_context(acme):
        site = Site.objects.create(name="Hall")
        for number in range(10):
            make_rule(name=f"Rule {number}", device=pump, site=site)
        make_rule(name="Pressure", condition=HOT | {"metric": "pressure"}, is_enabled=False, severity="low")
    developer.get(RULES)
    with django_assert_max_num_queries(10):
        assert developer.get(RULES).json()["count"] == 11
    for query in ({"metric": "pressure"}, {"is_enabled": "false"}, {"severity": "low"}, {"search": "press"}):
        assert [rule["name"] for rule in developer.get(RULES, query).json()["results"]] == ["Pressure"]
    assert developer.get(RULES, {"device": str(pump.uuid), "site": str(site.pk)}).json()["count"] == 10


def test_only_developers_and_admins_write(
    api: MakeApi, acme: Tenant, acme_operator: User, acme_viewer: User, acme_admin: User, make_rule: MakeRule
) -> None:
    with tenant_context(acme):
        rule = make_rule()
    for user in (acme_operator, acme_viewer):
        client = api(user, acme)
        assert client.get(RULES).status_code == 200
        assert client.post(RULES, {"name": "X", "condition": HOT}).status_code == 403
        assert client.patch(f"{RULES}/{rule.pk}", {"name": "X"}).status_code == 403
        assert client.delete(f"{RULES}/{rule.pk}").status_code == 403
        assert client.post(f"{RULES}/{rule.pk}/disable").status_code == 403
    assert api(acme_admin, acme).post(RULES, {"name": "X", "condition": HOT}).status_code == 201
    assert api(None, None).get(RULES).status_code == 401


def test_an_outsider_finds_nothing(api: MakeApi, acme: Tenant, globex: Tenant, globex_admin: User, make_rule: MakeRule) -> None:
    with tenant_context(acme):
        rule = make_rule()
    client = api(globex_admin, globex)
    url = f"{RULES}/{rule.pk}"
    assert client.get(RULES).json()["results"] == []
    assert client.get(url).status_code == client.patch(url, {"name": "X"}).status_code == client.delete(url).status_code == 404
    assert client.post(f"{url}/disable").status_code == client.get(f"/t/acme{RULES}").status_code == 404
    with tenant_context(acme):
        assert Rule.objects.get().name == "Hot"
