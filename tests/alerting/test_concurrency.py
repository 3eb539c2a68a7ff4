"""Several workers and people at once."""

from functools import partial

import pytest
from django_tenants.utils import tenant_context

from alerting.errors import IllegalTransitionError
from alerting.models import Alert, Incident
from alerting.services import handle_signal, transition_incident
from tenants.models import Tenant
from tests.alerting.conftest import NOW, signal
from tests.concurrency import run_at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pushed")]


def test_one_signal_delivered_eight_times_at_once_opens_one_incident(transactional_db: None, acme: Tenant) -> None:
    errors = run_at_once(acme, [lambda: handle_signal(signal=signal(), now=NOW)] * 8)
    assert errors == [None] * 8
    with tenant_context(acme):
        assert Incident.objects.count() == 1
        assert Alert.objects.get().count == 1


def test_different_signals_at_once_get_different_numbers(transactional_db: None, acme: Tenant) -> None:
    errors = run_at_once(acme, [partial(handle_signal, signal=signal(key=f"k{n}"), now=NOW) for n in range(8)])
    assert errors == [None] * 8
    with tenant_context(acme):
        assert Incident.objects.values("number").distinct().count() == 8


def test_of_two_people_who_acknowledge_at_once_one_is_first(transactional_db: None, acme: Tenant) -> None:
    with tenant_context(acme):
        incident = handle_signal(signal=signal(), now=NOW)
    assert incident is not None
    jobs = [
        partial(transition_incident, incident_id=incident.pk, action="acknowledge", actor=None, actor_name=name, now=NOW)
        for name in ("one", "two")
    ]
    errors = run_at_once(acme, jobs)
    assert sorted(type(error).__name__ for error in errors) == ["IllegalTransitionError", "NoneType"]
    assert any(isinstance(error, IllegalTransitionError) for error in errors)
