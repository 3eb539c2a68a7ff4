"""The list of incidents, and what people do on an incident's page."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from alerting.models import Incident, IncidentEvent
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser
from tests.iiot_site.web.conftest import Flap, OpenIncident

HTMX = {"HX-Request": "true"}


@pytest.fixture
def operator(browser: MakeBrowser, acme_operator: User) -> Client:
    return browser(acme_operator)


def path(incident: Incident, action: str = "") -> str:
    return f"/t/acme/incidents/{incident.pk}" + (f"/{action}" if action else "")


def titles(page: str, *, among: list[str]) -> list[str]:
    """Return the titles on the page in the order of their appearance."""
    return sorted((title for title in among if title in page), key=page.index)


def test_what_burns_most_and_longest_stands_on_top(operator: Client, open_incident: OpenIncident, acme: Tenant) -> None:
    names = ["Low one", "Old high one", "New high one", "Critical one", "Taken critical one"]
    open_incident(key="a", severity="low", summary="Low one")
    open_incident(key="b", severity="high", summary="Old high one")
    open_incident(key="c", severity="high", summary="New high one")
    taken = open_incident(key="d", severity="critical", summary="Taken critical one")
    open_incident(key="e", severity="critical", summary="Critical one")
    assert operator.post(path(taken, "acknowledge"), headers=HTMX).status_code == 204
    for page in ("/t/acme/incidents", "/t/acme/"):
        found = titles(operator.get(page).content.decode(), among=names)
        assert found == ["Critical one", "Old high one", "New high one", "Low one", "Taken critical one"]


def test_filters_narrow_the_list_and_htmx_gets_the_list_alone(operator: Client, open_incident: OpenIncident) -> None:
    names = ["First", "Second"]
    open_incident(key="a", severity="high", summary="First")
    second = open_incident(key="b", severity="low", summary="Second")
    operator.post(path(second, "resolve"))

    def shown(query: str) -> list[str]:
        return titles(operator.get(f"/t/acme/incidents{query}").content.decode(), among=names)

    assert shown("") == ["First"]
    assert shown("?state=resolved") == ["Second"]
    assert shown("?state=all") == ["First", "Second"], "what is open comes first"
    assert shown("?state=all&severity=high") == ["First"]
    assert shown("?state=all&q=SEC") == ["Second"]
    assert shown("?state=nonsense&severity=nonsense&page=99") == ["First"]
    part = operator.get("/t/acme/incidents?q=nothing", headers=HTMX)
    assert "<html" not in part.content.decode()
    assert "No incident fits these filters" in part.content.decode()
    assert "HX-Request" in part["Vary"]


def test_an_incident_says_what_happened_and_why(operator: Client, open_incident: OpenIncident) -> None:
    page = operator.get(path(open_incident())).content.decode()
    for fact in (
        "Pump 7",
        "Hall 3",
        "Pump too hot, version 3",
        "99 °C",
        "temperature &gt; 80, clears at 75",
        "still firing",
        "nobody is on it",
    ):
        assert fact in page


def test_work_on_an_incident_goes_into_its_timeline(
    operator: Client, acme_operator: User, open_incident: OpenIncident, acme: Tenant
) -> None:
    incident = open_incident()
    for action in ("acknowledge", "investigate"):
        answer = operator.post(path(incident, action), headers=HTMX)
        assert (answer.status_code, answer["HX-Trigger"]) == (204, "incident-changed")
    assert operator.post(path(incident, "notes"), {"text": " Bearing <b>replaced</b> "}, headers=HTMX).status_code == 204
    assert operator.post(path(incident, "resolve"))["Location"] == path(incident)
    page = operator.get(path(incident), headers=HTMX).content.decode()
    assert "Bearing &lt;b&gt;replaced&lt;/b&gt;" in page
    assert titles(page, among=["Resolved", "Note", "Investigating", "Acknowledged", "Opened"])[0] == "Resolved"
    assert str(acme_operator) in page
    assert 'id="action-reopen"' in page
    assert 'id="action-acknowledge"' not in page
    assert operator.post(path(incident, "reopen"), headers=HTMX).status_code == 204


def test_what_the_state_forbids_is_explained(operator: Client, open_incident: OpenIncident) -> None:
    incident = open_incident()
    refused = operator.post(path(incident, "reopen"), headers=HTMX)
    assert refused.status_code == 409
    assert "Allowed now: acknowledge" in refused.content.decode()
    assert refused["HX-Trigger"] == "incident-changed"
    assert operator.post(path(incident, "explode")).status_code == 404
    assert operator.get(path(incident, "acknowledge")).status_code == 405
    assert operator.post(path(incident, "notes"), {"text": "  "}).status_code == 422


def test_a_hostile_title_is_inert(operator: Client, open_incident: OpenIncident) -> None:
    incident = open_incident(summary="<img src=x onerror=alert(1)>\"'{{ 7 }}")
    for page in ("/t/acme/", "/t/acme/incidents", path(incident)):
        body = operator.get(page).content.decode()
        assert "<img" not in body
        assert "&lt;img src=x onerror=alert(1)&gt;" in body


def test_the_badge_counts_what_nobody_has_taken(operator: Client, open_incident: OpenIncident) -> None:
    assert 'class="count"' not in operator.get("/t/acme/incidents/count").content.decode()
    incident = open_incident()
    open_incident(key="other")
    assert "2 new" in operator.get("/t/acme/incidents/count").content.decode()
    operator.post(path(incident, "acknowledge"))
    assert "1 new" in operator.get("/t/acme/incidents/count").content.decode()


def test_an_empty_list_says_what_that_means(operator: Client, acme: Tenant) -> None:
    with tenant_context(acme):
        Incident.objects.all().delete()
    assert "No open incidents" in operator.get("/t/acme/incidents").content.decode()


def test_an_open_incident_asks_for_the_present_value_of_its_metric(operator: Client, open_incident: OpenIncident) -> None:
    incident = open_incident()
    assert "/now?metric=temperature" in operator.get(path(incident)).content.decode()
    operator.post(path(incident, "resolve"))
    assert "/now?metric=temperature" not in operator.get(path(incident)).content.decode()


def test_an_incident_that_came_back_is_open_since_then(
    browser: MakeBrowser, acme: Tenant, acme_viewer: User, open_incident: OpenIncident
) -> None:
    incident = open_incident()
    now = timezone.now()
    with tenant_context(acme):
        Incident.objects.filter(pk=incident.pk).update(opened_at=now - timedelta(hours=5))
        IncidentEvent.objects.create(incident=incident, kind=IncidentEvent.Kind.REOPENED, at=now - timedelta(minutes=3))
    viewer = browser(acme_viewer)
    assert "Back for <strong>" in viewer.get(f"/t/acme/incidents/{incident.pk}").content.decode()
    for page in ("/t/acme/incidents", "/t/acme/overview/figures"):
        text = viewer.get(page).content.decode()
        assert "3 min</time>" in text
        assert "5 h</time>" not in text


def test_an_alert_that_comes_and_goes_is_one_line_with_the_last_person_who_was_on_it(
    operator: Client, acme: Tenant, acme_operator: User, open_incident: OpenIncident, flap: Flap
) -> None:
    incident = open_incident()
    operator.post(path(incident, "acknowledge"), headers=HTMX)
    flap(times=7)
    page = operator.get(path(incident)).content.decode()
    for words in (
        "<strong>7th time</strong>",
        f"last on it: {acme_operator}",
        "8 times</strong>: first",
        'came back, <span class="num">6 times</span>',
    ):
        assert words in page
    assert page.count("temperature &gt; 80, clears at 75") == 1
    assert "came back 7 times" in operator.get("/t/acme/incidents").content.decode()
    operator.post(path(incident, "resolve"))
    assert "it came back 7 times" in operator.get(path(incident)).content.decode()
