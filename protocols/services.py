"""The only way to write what listeners report about themselves."""

from dataclasses import dataclass
from datetime import datetime

from protocols.models import ListenerState


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a listener says about itself. Counts are since its start."""

    name: str
    host: str
    pid: int
    state: str
    started_at: datetime
    messages: int
    rejected: int
    last_error: str


def record_heartbeat(*, heartbeat: Heartbeat, now: datetime) -> None:
    """Replace what is known about the listener of this name."""
    ListenerState.objects.update_or_create(
        name=heartbeat.name,
        defaults={
            "host": heartbeat.host[:120],
            "pid": heartbeat.pid,
            "state": heartbeat.state,
            "started_at": heartbeat.started_at,
            "heartbeat_at": now,
            "messages": heartbeat.messages,
            "rejected": heartbeat.rejected,
            "last_error": heartbeat.last_error[:500],
        },
    )
