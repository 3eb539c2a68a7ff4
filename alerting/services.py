"""The only way to change alerts and incidents.

Locks are always taken in one order — dedup key, alert, incident — and many signals of one transaction come sorted by key
(`handle_signals`), so that concurrent workers wait for each other instead of deadlocking. The partial unique indexes
`one_firing_alert_per_key` and `one_open_incident_per_key` hold even where somebody forgets the lock.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from alerting import live
from alerting.device_notices import mark_untold
from alerting.errors import AssigneeInvalidError, IncidentNotFoundError, NoteInvalidError, SameIncidentOpenError
from alerting.grouping import Candidate, place_signal
from alerting.incident_states import transition
from alerting.models import Alert, Incident, IncidentEvent
from alerting.selectors import list_incidents, open_incidents
from alerting.severities import is_worse, worse_of
from alerting.types import AlertSignal
from iiot_site.lib.schemas import current_schema, lock_in_schema
from tenants.models import Membership, User

MAX_NOTE_CHARACTERS = 4000
Kind = IncidentEvent.Kind

_KIND_OF_ACTION: dict[str, Kind] = {
    "acknowledge": Kind.ACKNOWLEDGED,
    "investigate": Kind.INVESTIGATING,
    "resolve": Kind.RESOLVED,
    "reopen": Kind.REOPENED,
}


# --- Signals


def handle_signals(*, signals: Sequence[AlertSignal], now: datetime) -> list[Incident]:
    """Handle signals in one transaction, each key's in the order given; return the incidents they concerned."""
    with transaction.atomic():
        handled = [handle_signal(signal=signal, now=now) for signal in sorted(signals, key=lambda signal: signal.dedup_key)]
    return [incident for incident in handled if incident is not None]


@transaction.atomic
def handle_signal(*, signal: AlertSignal, now: datetime) -> Incident | None:
    """Open, join, reopen or resolve what the signal is about; return the incident, or None where nothing was firing.

    Safe to repeat: a signal that is not newer (by source time) than the newest one of its key changes nothing.
    """
    _lock_key(signal.dedup_key)
    if signal.action == "resolve":
        return _handle_resolve(signal, now)
    return _handle_trigger(signal, now)


def _handle_trigger(signal: AlertSignal, now: datetime) -> Incident:
    of_key = Alert.objects.filter(dedup_key=signal.dedup_key).order_by("-received_at", "-occurred_at")
    newest = of_key.select_for_update(of=("self",)).first()
    if newest is not None:
        if newest.last_signal_at is not None and signal.occurred_at <= newest.last_signal_at:
            return Incident.objects.get(pk=newest.incident_id)
        if newest.resolved_at is None:
            incident = _lock_incident(newest.incident_id)
            if incident.state != Incident.State.RESOLVED:
                return _repeat_alert(newest, incident, signal, now)
            # A person resolved it and its source still insists: that is a new piece of work with an alert of its own.
            newest.resolved_at = now
            mark_untold(newest, now)
            newest.save(update_fields=["resolved_at", "tell_at"])
    incident = _find_or_open_incident(signal, now)
    alert = Alert(
        incident=incident,
        dedup_key=signal.dedup_key,
        severity=signal.severity,
        source=signal.source,
        summary=_shorten(signal.summary),
        device_id=signal.device_id,
        details=dict(signal.details),
        occurred_at=signal.occurred_at,
        received_at=now,
        last_signal_at=signal.occurred_at,
    )
    mark_untold(alert, now)
    alert.save(force_insert=True)
    _raise_severity(incident, signal.severity, now)
    _announce(incident)
    return incident


def _repeat_alert(alert: Alert, incident: Incident, signal: AlertSignal, now: datetime) -> Incident:
    """Count a signal that fires already. The timeline stays silent: a source that repeats each second would fill it."""
    alert.count += 1
    alert.last_signal_at = signal.occurred_at
    alert.severity = worse_of(signal.severity, alert.severity)
    alert.save(update_fields=["count", "last_signal_at", "severity"])
    if _raise_severity(incident, signal.severity, now):
        _announce(incident)
    return incident


def _find_or_open_incident(signal: AlertSignal, now: datetime) -> Incident:
    reopen_within = timedelta(seconds=settings.IIOT_INCIDENT_REOPEN_SECONDS)
    recent = open_incidents() | Q(resolved_at__gte=now - reopen_within)
    known = {
        incident.id: incident
        for incident in Incident.objects.select_for_update().filter(recent, dedup_key=signal.dedup_key).order_by("-number")
    }
    placement = place_signal(
        dedup_key=signal.dedup_key,
        candidates=[Candidate(i.id, i.dedup_key, i.resolved_at, i.resolved_automatically) for i in known.values()],
        now=now,
        reopen_within=reopen_within,
    )
    if placement.incident_id is None:
        return _open_incident(signal, now)
    incident = known[placement.incident_id]
    if placement.action == "reopen":
        _move(incident, "reopen", now)
        _record(incident, Kind.REOPENED, now, f"Back soon after it had resolved: {signal.summary}")
    else:
        _record(incident, Kind.ALERT_JOINED, now, signal.summary)
    return incident


def _open_incident(signal: AlertSignal, now: datetime) -> Incident:
    incident = Incident.objects.create(
        number=_next_number(),
        title=_shorten(signal.summary),
        severity=signal.severity,
        dedup_key=signal.dedup_key,
        site_id=signal.site_id,
        device_id=signal.device_id,
        opened_at=now,
    )
    _record(incident, Kind.OPENED, now, signal.summary)
    return incident


def _handle_resolve(signal: AlertSignal, now: datetime) -> Incident | None:
    alert = Alert.objects.select_for_update(of=("self",)).filter(dedup_key=signal.dedup_key, resolved_at=None).first()
    if alert is None:
        return None
    if alert.last_signal_at is not None and signal.occurred_at < alert.last_signal_at:
        return Incident.objects.get(pk=alert.incident_id)
    alert.last_signal_at = signal.occurred_at
    return _end_alert(alert, Kind.ALERT_RESOLVED, signal.summary, now)


def withdraw_alerts(*, source: str, reason: str, now: datetime, dedup_keys: Collection[str] | None = None) -> int:
    """End what `source` (or only these keys of it) has firing, because nobody watches it any more; return how many.

    What the source says next counts even if its source time is older than what it said before, of alerts that had
    resolved too: by a lowered threshold a reading that resolved one may well be the next to trigger.
    """
    with transaction.atomic():
        alerts = Alert.objects.filter(source=source)
        if dedup_keys is not None:
            alerts = alerts.filter(dedup_key__in=dedup_keys)
        withdrawn = 0
        for key in alerts.filter(resolved_at=None).order_by("dedup_key").values_list("dedup_key", flat=True):
            _lock_key(key)
            alert = Alert.objects.select_for_update(of=("self",)).filter(dedup_key=key, source=source, resolved_at=None).first()
            if alert is not None:
                _end_alert(alert, Kind.ALERT_WITHDRAWN, reason, now)
                withdrawn += 1
        alerts.exclude(last_signal_at=None).update(last_signal_at=None)
    return withdrawn


def _end_alert(alert: Alert, kind: Kind, text: str, now: datetime) -> Incident:
    incident = _lock_incident(alert.incident_id)
    alert.resolved_at = now
    mark_untold(alert, now)
    alert.save(update_fields=["resolved_at", "last_signal_at", "tell_at"])
    _record(incident, kind, now, text)
    if incident.state != Incident.State.RESOLVED and not incident.alerts.filter(resolved_at=None).exists():
        _move(incident, "resolve", now)
        incident.resolved_automatically = True
        incident.save(update_fields=["resolved_automatically"])
        _record(incident, Kind.RESOLVED, now, "Resolved by itself: nothing fires any more.")
    _announce(incident)
    return incident


# --- People


@transaction.atomic
def transition_incident(
    *, incident_id: uuid.UUID, action: str, actor: User | None, now: datetime, note: str = "", actor_name: str = ""
) -> Incident:
    """Acknowledge, investigate, resolve or reopen. `actor_name` is for callers that are no person, such as an API key.

    Raises:
        IncidentNotFoundError: no such incident.
        IllegalTransitionError: its state does not allow the action.
        SameIncidentOpenError: reopening beside an open incident about the same thing.
        NoteInvalidError: the note is too long.
    """
    if len(note) > MAX_NOTE_CHARACTERS:
        raise _note_error()
    if action == "reopen":
        _lock_key_of_incident(incident_id)
    incident = _lock_incident(incident_id)
    _move(incident, action, now, actor=actor, actor_name=actor_name)
    _record(incident, _KIND_OF_ACTION[action], now, note.strip(), actor=actor, actor_name=actor_name)
    _announce(incident)
    return incident


@transaction.atomic
def add_note(*, incident_id: uuid.UUID, text: str, actor: User | None, now: datetime, actor_name: str = "") -> Incident:
    """Write a note into the timeline, whatever the state.

    Raises:
        IncidentNotFoundError: no such incident.
        NoteInvalidError: no text, or too much.
    """
    if not text.strip() or len(text) > MAX_NOTE_CHARACTERS:
        raise _note_error()
    incident = _lock_incident(incident_id)
    _record(incident, Kind.NOTED, now, text.strip(), actor=actor, actor_name=actor_name)
    _announce(incident)
    return incident


@transaction.atomic
def assign_incident(
    *, incident_id: uuid.UUID, assignee_id: uuid.UUID | None, actor: User | None, now: datetime, actor_name: str = ""
) -> Incident:
    """Give the incident to a member of the tenant, or to nobody.

    Raises:
        IncidentNotFoundError: no such incident.
        AssigneeInvalidError: unknown, or no active member of this tenant: both look the same.
    """
    assignee = _get_member(assignee_id) if assignee_id is not None else None
    incident = _lock_incident(incident_id)
    if incident.assignee_id == assignee_id:
        return incident
    incident.assignee = assignee
    incident.save(update_fields=["assignee"])
    if assignee is None:
        _record(incident, Kind.UNASSIGNED, now, "", actor=actor, actor_name=actor_name)
    else:
        details = {"assignee": str(assignee.pk)}
        _record(incident, Kind.ASSIGNED, now, f"Assigned to {assignee}", actor=actor, actor_name=actor_name, details=details)
    _announce(incident)
    return incident


# --- Steps that all of the above share; the caller holds the locks


def _move(incident: Incident, action: str, now: datetime, *, actor: User | None = None, actor_name: str = "") -> None:
    """Apply the state machine and what a new state means for the times and names of the incident."""
    incident.state = transition(Incident.State(incident.state).value, action)
    if action == "resolve":
        incident.resolved_at = now
        incident.resolved_automatically = False
    elif action == "reopen":
        _refuse_second_open(incident)
        incident.resolved_at = incident.acknowledged_at = incident.acknowledged_by = None
        incident.acknowledged_by_name = ""
        incident.resolved_automatically = False
    elif incident.acknowledged_at is None:
        incident.acknowledged_at = now
        incident.acknowledged_by = actor
        incident.acknowledged_by_name = _name(actor, actor_name)
    incident.save()


def _refuse_second_open(incident: Incident) -> None:
    same = Incident.objects.filter(dedup_key=incident.dedup_key).exclude(pk=incident.pk)
    other = same.filter(open_incidents()).first()
    if other is not None:
        detail = f"Incident #{other.number} about the same thing is open. Work there."
        raise SameIncidentOpenError(detail, errors={"incident": str(other.pk)})


def _raise_severity(incident: Incident, severity: str, now: datetime) -> bool:
    if not is_worse(severity, incident.severity):
        return False
    _record(incident, Kind.SEVERITY_RAISED, now, f"From {incident.severity} to {severity}")
    incident.severity = severity
    incident.save(update_fields=["severity"])
    return True


def _record(
    incident: Incident,
    kind: Kind,
    now: datetime,
    text: str,
    *,
    actor: User | None = None,
    actor_name: str = "",
    details: dict[str, str] | None = None,
) -> None:
    IncidentEvent.objects.create(
        incident=incident, at=now, kind=kind, actor=actor, actor_name=_name(actor, actor_name), text=text, details=details or {}
    )


def _announce(incident: Incident) -> None:
    """Push the incident as it is once this transaction has committed."""
    transaction.on_commit(partial(_push, current_schema(), incident.pk))


def _push(schema: str, incident_id: uuid.UUID) -> None:
    incident = list_incidents().filter(pk=incident_id).first()
    if incident is not None:
        live.push_incident(schema, incident)


def _lock_key(dedup_key: str) -> None:
    """Let one transaction of this tenant at a time decide about a key."""
    lock_in_schema(f"alert {dedup_key}")


def _lock_key_of_incident(incident_id: uuid.UUID) -> None:
    dedup_key = Incident.objects.filter(pk=incident_id).values_list("dedup_key", flat=True).first()
    if dedup_key is not None:
        _lock_key(dedup_key)


def _lock_incident(incident_id: uuid.UUID) -> Incident:
    incident = Incident.objects.select_for_update(of=("self",)).filter(pk=incident_id).first()
    if incident is None:
        raise IncidentNotFoundError("There is no such incident.")
    return incident


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('alerting_incident_number')")
        return int(cursor.fetchone()[0])


def _get_member(user_id: uuid.UUID) -> User:
    active = Membership.objects.filter(user_id=user_id, user__is_active=True, is_active=True, tenant__schema_name=current_schema())
    membership = active.select_related("user").first()
    if membership is None:
        detail = "Choose an active member of this tenant."
        raise AssigneeInvalidError(detail, errors={"assignee": [detail]})
    return membership.user


def _name(actor: User | None, actor_name: str) -> str:
    return (actor_name or (str(actor) if actor else ""))[:160]


def _note_error() -> NoteInvalidError:
    detail = f"Write a note of 1 to {MAX_NOTE_CHARACTERS} characters."
    return NoteInvalidError(detail, errors={"text": [detail]})


def _shorten(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
