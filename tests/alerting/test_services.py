"""Signals become incidents; people work on them."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from alerting.errors import (
    AssigneeInvalidError,
    IllegalTransitionError,
    IncidentNotFoundError,
    NoteInvalidError,
    SameIncidentOpenError,
)
from alerting.models import Alert, Incident
from alerting.services import add_note, assign_incident, handle_signal, handle_signals, transition_incident, withdraw_alerts
from tenants.models import Tenant, User
from tests.alerting.conftest import NOW, signal

pytestmark = pytest.mark.usefixtures("in_acme")


def open_incident(**fields: Any) -> Incident:
    incident = handle_signal(signal=signal(**fields), now=NOW)
    assert incident is not None
    return incident


def kinds(incident: Incident) -> list[str]:
    return list(incident.events.values_list("kind", flat=True))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


# --- Signals


def test_a_trigger_opens_an_incident_with_one_alert() -> None:
    incident = open_incident()
    alert = incident.alerts.get()
    assert (incident.state, incident.severity, incident.title) == ("new", "high", "Temperature 99 °C is above 80 °C on Pump 7")
    assert (alert.count, alert.resolved_at) == (1, None)
    assert kinds(incident) == ["opened"]


def test_the_same_signal_again_changes_nothing() -> None:
    incident = open_incident()
    handle_signal(signal=signal(), now=NOW + seconds(5))
    assert Alert.objects.get().count == 1
    assert kinds(incident) == ["opened"]


def test_a_repeat_counts_up_and_may_only_raise_the_severity() -> None:
    incident = open_incident()
    handle_signal(signal=signal(at=1, severity="critical"), now=NOW)
    handle_signal(signal=signal(at=2, severity="low"), now=NOW)
    incident.refresh_from_db()
    alert = Alert.objects.get()
    assert (alert.count, alert.severity, incident.severity) == (3, "critical", "critical")
    assert kinds(incident) == ["opened", "severity_raised"]


def test_it_resolves_by_itself_when_its_last_alert_resolves() -> None:
    incident = open_incident()
    handle_signal(signal=signal("resolve", at=10), now=NOW + seconds(11))
    incident.refresh_from_db()
    assert (incident.state, incident.resolved_automatically, incident.resolved_at) == ("resolved", True, NOW + seconds(11))
    assert kinds(incident) == ["opened", "alert_resolved", "resolved"]
    assert all(event.actor_name == "" for event in incident.events.all())


def test_a_resolve_of_what_does_not_fire_does_nothing() -> None:
    assert handle_signal(signal=signal("resolve"), now=NOW) is None
    assert not Incident.objects.exists()


def test_a_late_resolve_does_not_end_a_newer_alert() -> None:
    incident = open_incident(at=10)
    handle_signal(signal=signal("resolve", at=5), now=NOW)
    incident.refresh_from_db()
    assert incident.state == "new"


def test_a_late_trigger_does_not_open_what_has_resolved_since() -> None:
    open_incident()
    handle_signal(signal=signal("resolve", at=10), now=NOW)
    handle_signal(signal=signal(at=5), now=NOW)
    assert Incident.objects.get().state == "resolved"
    assert Alert.objects.count() == 1


def test_it_reopens_when_the_signal_returns_within_grace() -> None:
    incident = open_incident()
    transition_incident(incident_id=incident.pk, action="acknowledge", actor=None, actor_name="API key x", now=NOW)
    handle_signal(signal=signal("resolve", at=10), now=NOW + seconds(10))
    handle_signal(signal=signal(at=20), now=NOW + seconds(310))
    incident.refresh_from_db()
    assert (incident.state, incident.resolved_at, incident.acknowledged_at, incident.acknowledged_by_name) == ("new", None, None, "")
    assert incident.alerts.count() == 2
    assert kinds(incident)[-1] == "reopened"


def test_it_opens_anew_when_the_signal_returns_after_grace() -> None:
    incident = open_incident()
    handle_signal(signal=signal("resolve", at=10), now=NOW + seconds(10))
    again = handle_signal(signal=signal(at=20), now=NOW + seconds(311))
    assert again is not None
    assert again.pk != incident.pk
    assert again.number > incident.number


def test_what_a_person_resolved_is_not_reopened_by_a_new_signal(acme_operator: User) -> None:
    incident = open_incident()
    transition_incident(incident_id=incident.pk, action="resolve", actor=acme_operator, now=NOW)
    again = handle_signal(signal=signal(at=20), now=NOW + seconds(20))
    assert again is not None
    assert again.pk != incident.pk
    assert list(Alert.objects.filter(resolved_at=None).values_list("incident", flat=True)) == [again.pk]


def test_the_end_of_an_alert_is_told_to_an_incident_that_a_person_resolved(acme_operator: User) -> None:
    incident = open_incident()
    transition_incident(incident_id=incident.pk, action="resolve", actor=acme_operator, now=NOW)
    handle_signal(signal=signal("resolve", at=9), now=NOW)
    assert kinds(incident) == ["opened", "resolved", "alert_resolved"]


def test_many_signals_of_one_key_are_handled_in_their_order() -> None:
    handle_signals(signals=[signal(at=1), signal("resolve", at=2), signal(key="other"), signal(at=3)], now=NOW)
    assert {incident.dedup_key: incident.state for incident in Incident.objects.all()} == {"rule:1:7:3": "new", "other": "new"}
    assert Alert.objects.count() == 3


def test_a_very_long_summary_is_cut() -> None:
    assert open_incident(summary="x" * 900).title.endswith("…")


# --- Withdrawal


def test_withdrawing_ends_the_alerts_of_a_source_and_says_why() -> None:
    incident, other = open_incident(), open_incident(key="other", source="rule:2")
    assert withdraw_alerts(source="rule:1", reason="The rule was disabled.", now=NOW) == 1
    incident.refresh_from_db()
    other.refresh_from_db()
    assert (incident.state, other.state) == ("resolved", "new")
    assert incident.events.filter(kind="alert_withdrawn", text="The rule was disabled.").exists()


def test_after_a_withdrawal_the_same_reading_may_fire_again() -> None:
    incident = open_incident()
    withdraw_alerts(source="rule:1", reason="The rule was changed.", now=NOW)
    handle_signal(signal=signal(), now=NOW)
    incident.refresh_from_db()
    assert incident.state == "new"


# --- People


def test_a_transition_says_who_and_when(acme_operator: User) -> None:
    incident = open_incident()
    transition_incident(incident_id=incident.pk, action="acknowledge", actor=acme_operator, now=NOW + seconds(3), note="On my way")
    incident.refresh_from_db()
    event = incident.events.get(kind="acknowledged")
    assert (incident.acknowledged_by, incident.acknowledged_at) == (acme_operator, NOW + seconds(3))
    assert (event.actor, event.actor_name, event.text) == (acme_operator, str(acme_operator), "On my way")


def test_investigating_at_once_counts_as_acknowledged(acme_operator: User) -> None:
    incident = transition_incident(incident_id=open_incident().pk, action="investigate", actor=acme_operator, now=NOW)
    assert (incident.state, incident.acknowledged_at) == ("investigating", NOW)


def test_an_illegal_transition_leaves_no_trace(acme_operator: User) -> None:
    incident = open_incident()
    with pytest.raises(IllegalTransitionError, match="Allowed now: acknowledge, investigate, resolve"):
        transition_incident(incident_id=incident.pk, action="reopen", actor=acme_operator, now=NOW)
    assert kinds(incident) == ["opened"]


def test_it_is_not_reopened_beside_an_open_one_about_the_same(acme_operator: User) -> None:
    first = open_incident()
    transition_incident(incident_id=first.pk, action="resolve", actor=acme_operator, now=NOW)
    second = handle_signal(signal=signal(at=1), now=NOW)
    assert second is not None
    with pytest.raises(SameIncidentOpenError, match=f"#{second.number}"):
        transition_incident(incident_id=first.pk, action="reopen", actor=acme_operator, now=NOW)


def test_a_note_is_kept_whatever_the_state(acme_operator: User) -> None:
    incident = open_incident()
    transition_incident(incident_id=incident.pk, action="resolve", actor=acme_operator, now=NOW)
    add_note(incident_id=incident.pk, text=" It was the bearing. ", actor=acme_operator, now=NOW)
    assert incident.events.get(kind="noted").text == "It was the bearing."


@pytest.mark.parametrize("text", ["", "  \n", "x" * 4001])
def test_an_empty_or_endless_note_is_refused(text: str, acme_operator: User) -> None:
    with pytest.raises(NoteInvalidError):
        add_note(incident_id=open_incident().pk, text=text, actor=acme_operator, now=NOW)


def test_it_is_assigned_to_a_member_and_taken_back(acme_operator: User, acme_admin: User) -> None:
    incident = open_incident()
    assign_incident(incident_id=incident.pk, assignee_id=acme_operator.pk, actor=acme_admin, now=NOW)
    assert assign_incident(incident_id=incident.pk, assignee_id=acme_operator.pk, actor=acme_admin, now=NOW).assignee == acme_operator
    assert assign_incident(incident_id=incident.pk, assignee_id=None, actor=acme_admin, now=NOW).assignee is None
    assert kinds(incident) == ["opened", "assigned", "unassigned"]


def test_outsiders_unknown_and_inactive_people_cannot_be_assigned(globex_admin: User, acme_operator: User) -> None:
    incident = open_incident()
    acme_operator.is_active = False
    acme_operator.save()
    for nobody in (globex_admin.pk, acme_operator.pk, uuid.uuid4()):
        with pytest.raises(AssigneeInvalidError):
            assign_incident(incident_id=incident.pk, assignee_id=nobody, actor=None, now=NOW)


def test_an_unknown_incident_is_not_found() -> None:
    with pytest.raises(IncidentNotFoundError):
        transition_incident(incident_id=uuid.uuid4(), action="reopen", actor=None, now=NOW)


# --- Live


def test_every_change_is_pushed_after_commit(
    in_acme: Tenant,
    acme_operator: User,
    pushed: list[tuple[str, str, Any]],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        incident = open_incident()
        transition_incident(incident_id=incident.pk, action="acknowledge", actor=acme_operator, now=NOW)
    assert pushed == []
    for callback in callbacks:
        callback()
    schema, topic, frame = pushed[-1]
    assert (schema, topic, frame["type"]) == (in_acme.schema_name, "incidents", "incident")
    assert frame["incident"]["state"] == "acknowledged"
    assert frame["incident"]["acknowledged_by"] == {"id": str(acme_operator.pk), "name": str(acme_operator)}
    assert frame["incident"]["opened_at"] == "2026-03-01T12:00:00Z"
