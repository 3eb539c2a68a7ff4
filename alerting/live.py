"""Pushes incidents to the pages and clients that listen to the topic `incidents`."""

from datetime import datetime
from typing import Any

from alerting.models import Incident
from iiot_site.lib.live import push_frames

TOPIC = "incidents"


def describe_incident(incident: Incident) -> dict[str, Any]:
    """Return the short incident of a frame: the API's names, without what a list does not show."""
    return {
        "id": str(incident.id),
        "number": incident.number,
        "title": incident.title,
        "state": incident.state,
        "severity": incident.severity,
        "site": _text(incident.site_id),
        "site_name": incident.site.name if incident.site else None,
        "device": str(incident.device.uuid) if incident.device else None,
        "device_name": incident.device.name if incident.device else None,
        "assignee": _text(incident.assignee_id),
        "assignee_name": str(incident.assignee) if incident.assignee else None,
        "opened_at": _time(incident.opened_at),
        "acknowledged_at": _time(incident.acknowledged_at),
        "acknowledged_by": _text(incident.acknowledged_by_id),
        "acknowledged_by_name": incident.acknowledged_by_name or None,
        "resolved_at": _time(incident.resolved_at),
    }


def push_incident(schema: str, incident: Incident) -> None:
    """Tell the tenant's live clients how the incident is now; call it after commit."""
    push_frames(schema, [(TOPIC, {"type": "incident", "incident": describe_incident(incident)})])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
