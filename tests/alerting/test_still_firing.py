"""Incidents resolved by hand while their alerts go on."""

from datetime import timedelta

import pytest
from django_tenants.utils import tenant_context

from alerting.models import Incident
from alerting.services import handle_signal, transition_incident
from alerting.still_firing import reopen_still_firing
from alerting.tasks import reopen_still_firing_task
from tenants.models import Tenant, User
from tests.alerting.conftest import NOW, signal


def resolve_by_hand(actor: User) -> Incident:
    incident = handle_signal(signal=signal(), now=NOW)
    assert incident is not None
    return transition_incident(incident_id=incident.pk, action="resolve", actor=actor, now=NOW)


def test_it_comes_back_when_it_still_fires_after_the_grace(in_acme: Tenant, acme_operator: User) -> None:
    incident = resolve_by_hand(acme_operator)
    assert reopen_still_firing(now=NOW + timedelta(seconds=299)) == 0
    assert reopen_still_firing(now=NOW + timedelta(seconds=300)) == 1
    incident.refresh_from_db()
    assert incident.state == "new"
    assert incident.events.last().text == "Still firing 5 min after it was resolved."  # type: ignore[union-attr]


def test_it_stays_resolved_when_the_source_cleared_meanwhile(in_acme: Tenant, acme_operator: User) -> None:
    resolve_by_hand(acme_operator)
    handle_signal(signal=signal("resolve", at=10), now=NOW + timedelta(seconds=10))
    assert reopen_still_firing(now=NOW + timedelta(hours=1)) == 0


def test_it_leaves_the_work_to_an_incident_that_is_open_about_the_same(in_acme: Tenant, acme_operator: User) -> None:
    resolve_by_hand(acme_operator)
    handle_signal(signal=signal(at=20), now=NOW + timedelta(seconds=20))
    assert reopen_still_firing(now=NOW + timedelta(hours=1)) == 0
    assert Incident.objects.exclude(state="resolved").count() == 1


@pytest.mark.usefixtures("eager_celery")
def test_the_task_reaches_every_tenant(acme: Tenant, globex: Tenant, acme_operator: User, globex_admin: User) -> None:
    for tenant, person in ((acme, acme_operator), (globex, globex_admin)):
        with tenant_context(tenant):
            resolve_by_hand(person)
    reopen_still_firing_task.delay()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            assert Incident.objects.get().state == "new"
