"""Reads of what listeners have reported."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max

from devices.status import Gap
from protocols.models import HeldBacklog, HeldMessage, ListenerState

ALIVE_WITHIN = timedelta(seconds=15)


def seconds_since_heartbeat(*, name: str, now: datetime) -> float:
    """Return how long ago any listener of this name was last known to work; 0 where there never was one."""
    beaten_at = ListenerState.objects.filter(name=name).aggregate(last=Max("heartbeat_at"))["last"]
    return max(0.0, (now - beaten_at).total_seconds()) if beaten_at is not None else 0.0


def find_backlog(*, tenant: str) -> HeldBacklog | None:
    """Return what is held of a tenant, None where nothing is."""
    return HeldBacklog.objects.filter(tenant=tenant).first()


def find_held_gap(*, tenant: str) -> Gap | None:
    """Return the time in which what a tenant's devices sent is not known, for it is held; None where nothing is.

    No longer than messages are held at all: tables that nobody mends do not hide silence for ever.
    """
    backlog = find_backlog(tenant=tenant)
    if backlog is None:
        return None
    newest = HeldMessage.objects.filter(tenant=tenant).aggregate(at=Max("received_at"))["at"] or backlog.since
    latest = backlog.since + timedelta(days=settings.IIOT_HELD_MAX_AGE_DAYS)
    return Gap(backlog.since, min(max(newest, backlog.since), latest))
