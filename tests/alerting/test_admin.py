"""Incidents in the admin: read-only, with actions that call the services."""

import pytest
from django_tenants.utils import tenant_context

from alerting.models import Incident
from alerting.services import handle_signal
from tenants.models import Tenant, User
from tests.alerting.conftest import NOW, signal
from tests.conftest import MakeBrowser

pytestmark = pytest.mark.usefixtures("pushed")

ADMIN = "/t/acme/admin/alerting"


@pytest.fixture
def incident(acme: Tenant) -> Incident:
    with tenant_context(acme):
        incident = handle_signal(signal=signal(), now=NOW)
    assert incident is not None
    return incident


def test_an_operator_acknowledges_and_resolves_from_the_list(browser: MakeBrowser, acme_operator: User, incident: Incident) -> None:
    operator = browser(acme_operator)
    for action in ("acknowledge", "resolve", "acknowledge"):
        page = operator.post(f"{ADMIN}/incident/", {"action": action, "_selected_action": [str(incident.pk)]}, follow=True)
    assert "Cannot acknowledge an incident that is resolved." in page.content.decode()
    page = operator.get(f"{ADMIN}/incident/{incident.pk}/change/")
    shown = page.content.decode()
    assert page.status_code == 200
    assert "Acknowledged" in shown
    assert str(acme_operator) in shown


def test_a_viewer_sees_incidents_and_alerts_and_no_action(
    browser: MakeBrowser, acme: Tenant, acme_viewer: User, incident: Incident
) -> None:
    viewer = browser(acme_viewer)
    assert viewer.get(f"{ADMIN}/alert/").status_code == viewer.get(f"{ADMIN}/incident/").status_code == 200
    viewer.post(f"{ADMIN}/incident/", {"action": "acknowledge", "_selected_action": [str(incident.pk)]})
    with tenant_context(acme):
        assert Incident.objects.get().state == "new"


def test_nothing_is_edited_by_hand(browser: MakeBrowser, acme_admin: User, incident: Incident) -> None:
    admin = browser(acme_admin)
    assert admin.get(f"{ADMIN}/incident/add/").status_code == 403
    assert admin.post(f"{ADMIN}/incident/{incident.pk}/change/", {"title": "x"}).status_code == 403
    assert admin.post(f"{ADMIN}/incident/{incident.pk}/delete/", {"post": "yes"}).status_code == 403
