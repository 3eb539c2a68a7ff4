"""Pushes incidents to the pages and clients that listen to the topic `incidents`."""

import uuid
from datetime import datetime
from typing import Any

from alerting.models import Incident
from iiot_site.lib.live import push_frames
from iiot_site.lib.times import format_time

TOPIC = "incidents"


def describe_incident(incident: Incident) -> dict[str, Any]:
    """Return the incident as a frame carries it: the API's names and shapes, without what a list does not show."""
    device, site, assignee = incident.device, incident.site, incident.assignee
    return {
        "id": str(incident.id),
        "number": incident.number,
        "title": incident.title,
        "state": incident.state,
        "severity": incident.severity,
        "site": _named(site.id, site) if site else None,
        "device": _named(device.uuid, device) if device else None,
        "assignee": _named(assignee.pk, assignee) if assignee else None,
        "opened_at": _time(incident.opened_at),
        "acknowledged_at": _time(incident.acknowledged_at),
        "acknowledged_by": _named(incident.acknowledged_by_id, incident.acknowledged_by_name) if incident.acknowledged_at else None,
        "resolved_at": _time(incident.resolved_at),
    }


def push_incident(schema: str, incident: Incident) -> None:
    """Tell the tenant's live clients how the incident is now; call it after commit."""
    push_frames(schema, [(TOPIC, {"type": "incident", "incident": describe_incident(incident)})])


def _named(id_: uuid.UUID | None, name: object) -> dict[str, str | None]:
    return {"id": str(id_) if id_ else None, "name": str(name)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
