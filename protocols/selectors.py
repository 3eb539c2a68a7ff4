"""Reads of what listeners have reported."""

from datetime import datetime, timedelta

from django.db.models import Max

from protocols.models import HeldBacklog, ListenerState

ALIVE_WITHIN = timedelta(seconds=15)


def seconds_since_heartbeat(*, name: str, now: datetime) -> float:
    """Return how long ago any listener of this name was last known to work; 0 where there never was one."""
    beaten_at = ListenerState.objects.filter(name=name).aggregate(last=Max("heartbeat_at"))["last"]
    return max(0.0, (now - beaten_at).total_seconds()) if beaten_at is not None else 0.0


def find_backlog(*, tenant: str) -> HeldBacklog | None:
    """Return what is held of a tenant, None where nothing is."""
    return HeldBacklog.objects.filter(tenant=tenant).first()
