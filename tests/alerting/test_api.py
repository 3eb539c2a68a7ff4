"""Alerts and incidents over the API, with people of each role."""

from collections.abc import Callable
from typing import Any

import pytest
from django_tenants.utils import tenant_context
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerting.models import Alert, Incident
from alerting.services import handle_signal
from devices.models import Site
from tenants.models import Tenant, User
from tenants.services import issue_api_key
from tests.alerting.conftest import NOW, signal
from tests.conftest import MakeApi, MakeDevice

pytestmark = pytest.mark.usefixtures("pushed")

INCIDENTS = "/api/v1/alerts/incidents"

OpenIncident = Callable[..., Incident]


@pytest.fixture
def open_incident(acme: Tenant) -> OpenIncident:
    def make(**fields: Any) -> Incident:
        with tenant_context(acme):
            incident = handle_signal(signal=signal(**fields), now=NOW)
        assert incident is not None
        return incident

    return make


@pytest.fixture
def operator(api: MakeApi, acme: Tenant, acme_operator: User) -> APIClient:
    return api(acme_operator, acme)


def results(client: APIClient, **query: str) -> list[Any]:
    response = client.get(INCIDENTS, query)
    assert response.status_code == 200, response.json()
    return [incident["title"] for incident in response.json()["results"]]


def test_an_incident_has_the_documented_shape(
    operator: APIClient, open_incident: OpenIncident, make_device: MakeDevice, acme: Tenant
) -> None:
    with tenant_context(acme):
        site = Site.objects.create(name="Hall")
        pump = make_device(site=site)
    incident = open_incident(device_id=pump.pk, site_id=site.pk)
    assert operator.get(f"{INCIDENTS}/{incident.pk}").json() == {
        "id": str(incident.pk),
        "number": incident.number,
        "title": "Temperature 99 °C is above 80 °C on Pump 7",
        "state": "new",
        "severity": "high",
        "site": {"id": str(site.pk), "name": "Hall"},
        "device": {"id": str(pump.uuid), "name": "Pump 7"},
        "opened_at": "2026-03-01T12:00:00Z",
        "open_since": "2026-03-01T12:00:00Z",
        "times_back": 0,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "resolved_at": None,
        "resolved_automatically": False,
        "assignee": None,
        "alert_count": 1,
    }


def test_the_list_can_be_narrowed_searched_and_ordered(
    operator: APIClient, open_incident: OpenIncident, make_device: MakeDevice, acme: Tenant
) -> None:
    with tenant_context(acme):
        plant = Site.objects.create(name="Plant")
        hall = Site.objects.create(name="Hall", parent=plant)
        pump = make_device(site=hall)
    first = open_incident(key="a", summary="first", device_id=pump.pk, site_id=hall.pk, severity="critical")
    open_incident(key="b", summary="second")
    open_incident(key="c", summary="third", severity="low")
    operator.post(f"{INCIDENTS}/{first.pk}/resolve")
    assert results(operator) == ["third", "second", "first"]
    assert results(operator, ordering="number") == ["first", "second", "third"]
    assert results(operator, state="open") == ["third", "second"]
    assert results(operator, state="resolved") == results(operator, site=str(plant.pk)) == results(operator, device=str(pump.uuid))
    assert results(operator, severity="low") == ["third"]
    assert results(operator, search="pump-7") == results(operator, search=str(first.number)) == ["first"]
    assert operator.get(INCIDENTS, {"state": "burning"}).status_code == 400


def test_the_commands_answer_with_the_incident_as_it_is_afterwards(
    operator: APIClient, open_incident: OpenIncident, acme_operator: User
) -> None:
    incident = open_incident()
    url = f"{INCIDENTS}/{incident.pk}"
    person = {"id": str(acme_operator.pk), "name": str(acme_operator)}
    answer = operator.post(f"{url}/acknowledge", {"note": "On my way"}).json()
    assert (answer["state"], answer["acknowledged_by"], answer["alert_count"]) == ("acknowledged", person, 1)
    assert operator.post(f"{url}/assign", {"assignee": str(acme_operator.pk)}).json()["assignee"] == person
    assert operator.post(f"{url}/investigate").json()["state"] == "investigating"
    assert operator.post(f"{url}/notes", {"text": "Bearing"}).json()["state"] == "investigating"
    assert operator.post(f"{url}/resolve").json()["resolved_automatically"] is False
    assert operator.post(f"{url}/reopen").json()["acknowledged_by"] is None
    timeline = operator.get(f"{url}/timeline").json()
    assert [event["kind"] for event in timeline["results"]] == [
        "opened",
        "acknowledged",
        "assigned",
        "investigating",
        "noted",
        "resolved",
        "reopened",
    ]
    assert timeline["results"][0]["actor"] is None
    assert (timeline["results"][1]["actor"], timeline["results"][1]["text"]) == (person, "On my way")


def test_an_illegal_transition_is_a_conflict_that_names_what_is_allowed(operator: APIClient, open_incident: OpenIncident) -> None:
    response = operator.post(f"{INCIDENTS}/{open_incident().pk}/reopen")
    assert response.status_code == 409
    assert response.json()["code"] == "illegal_transition"
    assert response.json()["errors"]["allowed"] == ["acknowledge", "investigate", "resolve"]


def test_unknown_and_foreign_people_cannot_be_assigned(operator: APIClient, open_incident: OpenIncident, globex_admin: User) -> None:
    url = f"{INCIDENTS}/{open_incident().pk}/assign"
    answers = [operator.post(url, {"assignee": someone}) for someone in (str(globex_admin.pk), "00000000-0000-4000-8000-000000000000")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json() == answers[1].json()
    assert "assignee" in answers[0].json()["errors"]


@pytest.mark.parametrize("body", [{"text": ""}, {"text": "x" * 4001}, {}, {"text": "a", "at": "2020"}])
def test_a_note_without_text_or_with_more_is_refused(body: dict[str, str], operator: APIClient, open_incident: OpenIncident) -> None:
    assert operator.post(f"{INCIDENTS}/{open_incident().pk}/notes", body).status_code == 400


def test_alerts_say_why_they_fired_and_belong_to_an_incident(
    operator: APIClient, open_incident: OpenIncident, make_device: MakeDevice, acme: Tenant
) -> None:
    with tenant_context(acme):
        pump = make_device()
    incident = open_incident(device_id=pump.pk, details={"value": 99})
    with tenant_context(acme):
        handle_signal(signal=signal("resolve", at=9), now=NOW)
    open_incident(key="other", at=20, severity="low")
    [firing] = operator.get("/api/v1/alerts", {"state": "firing"}).json()["results"]
    [resolved] = operator.get("/api/v1/alerts", {"state": "resolved", "device": str(pump.uuid)}).json()["results"]
    assert (firing["severity"], firing["state"]) == ("low", "firing")
    assert resolved["details"] == {"value": 99}
    assert resolved["incident"]["id"] == str(incident.pk)
    assert operator.get(f"/api/v1/alerts/{resolved['id']}").json() == resolved
    assert operator.get("/api/v1/alerts", {"incident": str(incident.pk)}).json()["count"] == 1


def test_the_lists_cost_the_same_for_one_and_for_many(
    operator: APIClient,
    open_incident: OpenIncident,
    make_device: MakeDevice,
    acme: Tenant,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    with tenant_context(acme):
        pumps = [make_device(f"pump-{number}", name=f"Pump {number}") for number in range(20)]
    for pump in pumps:
        incident = open_incident(key=pump.key, device_id=pump.pk)
    for url in (INCIDENTS, "/api/v1/alerts", f"{INCIDENTS}/{incident.pk}/timeline"):
        operator.get(url)
        with django_assert_max_num_queries(10):
            assert operator.get(url).status_code == 200


# --- Who may


def test_a_viewer_reads_and_an_auditor_too_but_neither_acts(
    api: MakeApi, acme: Tenant, acme_viewer: User, acme_auditor: User, open_incident: OpenIncident
) -> None:
    incident = open_incident()
    for user in (acme_viewer, acme_auditor):
        client = api(user, acme)
        assert client.get(INCIDENTS).status_code == client.get("/api/v1/alerts").status_code == 200
        for command in ("acknowledge", "investigate", "resolve", "reopen", "assign", "notes"):
            assert client.post(f"{INCIDENTS}/{incident.pk}/{command}", {"text": "x", "note": "x"}).status_code == 403


def test_nobody_is_asked_to_log_in(api: MakeApi) -> None:
    assert api(None, None).get(INCIDENTS).status_code == 401


def test_an_outsider_finds_nothing(api: MakeApi, globex: Tenant, globex_admin: User, open_incident: OpenIncident, acme: Tenant) -> None:
    incident = open_incident()
    with tenant_context(acme):
        alert = Alert.objects.get()
    client = api(globex_admin, globex)
    assert client.get(INCIDENTS).json()["results"] == []
    for url in (f"{INCIDENTS}/{incident.pk}", f"{INCIDENTS}/{incident.pk}/timeline", f"/api/v1/alerts/{alert.pk}"):
        assert client.get(url).status_code == 404
    for command in ("acknowledge", "assign", "notes"):
        assert client.post(f"{INCIDENTS}/{incident.pk}/{command}", {"text": "x"} if command == "notes" else {}).status_code in {400, 404}
    assert client.get(f"/t/acme{INCIDENTS}").status_code == 404


def test_a_program_acts_under_the_name_of_its_key(acme: Tenant, acme_admin: User, open_incident: OpenIncident) -> None:
    key = issue_api_key(tenant=acme, name="SCADA bridge", permissions=["incident:read", "incident:write"], created_by=acme_admin)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key.secret}")
    answer = client.post(f"{INCIDENTS}/{open_incident().pk}/acknowledge")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["acknowledged_by"] == {"id": None, "name": "API key SCADA bridge"}
