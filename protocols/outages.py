"""When the platform could not hear devices: of one listener, or of any.

A listener notes its own gap with the first heartbeat at which messages come in again; one that lasts is seen by its
last such heartbeat. The watch over devices notes by its own pulse when everything was away or a clock was set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from devices.status import STATUS_TIMER, Gap, merge_gaps
from protocols.models import DoorPulse, ListenerState, OutageGap, PlatformPulse
from protocols.pulses import Interval, Pulse, judge_interval
from tenants.timers import hasten_timers

HEARTBEAT_LIMIT = timedelta(seconds=20)
GAPS_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Down:
    """A listener that is down; it could have been up from `counted_from` on, as the platform itself was."""

    since: datetime
    counted_from: datetime


@dataclass(frozen=True, slots=True)
class Outages:
    """Gaps that are over, by listener; "" stands for all of them."""

    gaps: Mapping[str, list[Gap]]

    def of_listener(self, name: str) -> list[Gap]:
        """Return when devices of this listener could not be heard, until now."""
        return merge_gaps([*self.gaps.get("", []), *self.gaps.get(name, [])])

    def add_for_all(self, gap: Gap) -> "Outages":
        """Return them with one more in which no device could be heard."""
        return Outages({**self.gaps, "": [*self.gaps.get("", []), gap]})


@transaction.atomic
def record_pulse(*, pulse: Pulse) -> Interval | None:
    """Note that the watch runs, and what happened since it ran before; None the first time."""
    known, is_first = PlatformPulse.objects.select_for_update().get_or_create(
        defaults={"beat_at": pulse.at, "host": pulse.host, "monotonic_seconds": pulse.monotonic_seconds}
    )
    if is_first:
        return None
    interval = judge_interval(Pulse(known.beat_at, known.host, known.monotonic_seconds), pulse)
    known.beat_at, known.host, known.monotonic_seconds = pulse.at, pulse.host, pulse.monotonic_seconds
    if interval.clock_set:
        known.clock_set_at, known.clock_set_seconds = pulse.at, interval.clock_set.total_seconds()
        hasten_timers(kind=STATUS_TIMER, due_at=pulse.at)  # they were set by the clock as it was
    known.save()
    if interval.gap is not None:
        OutageGap.objects.create(started_at=interval.gap.start, ended_at=interval.gap.end, reason=interval.reason)
        OutageGap.objects.filter(ended_at__lt=pulse.at - GAPS_KEPT).delete()
    return interval


def record_connected(*, listener: str, since: datetime | None, now: datetime) -> None:
    """Note the gap, if there was one, before a heartbeat at which messages come in; `since` is the last such heartbeat."""
    if since is not None and now - since > HEARTBEAT_LIMIT:
        OutageGap.objects.create(listener=listener, started_at=since, ended_at=now, reason="listener down")
        hasten_timers(kind=STATUS_TIMER, due_at=now)


@transaction.atomic
def record_door_pulse(*, name: str, now: datetime) -> None:
    """Note that messages can come in through a process that is no listener, and the gap before, if there was one."""
    before = DoorPulse.objects.select_for_update().filter(name=name).values_list("beat_at", flat=True).first()
    record_connected(listener=name, since=before, now=now)
    DoorPulse.objects.update_or_create(name=name, defaults={"beat_at": now})


def load_down_listeners(*, now: datetime) -> dict[str, Down]:
    """Return the listeners whose messages do not come in now; one that never connected is among them."""
    oldest = now - HEARTBEAT_LIMIT
    since: dict[str, datetime] = {}
    up: set[str] = set()
    for name, state, connected_at, started_at in ListenerState.objects.values_list("name", "state", "connected_at", "started_at"):
        if state == "connected" and connected_at is not None and connected_at >= oldest:
            up.add(name)
        since[name] = max(connected_at or started_at, since.get(name, connected_at or started_at))
    since = {name: start for name, start in since.items() if name not in up}  # one process hears devices for all of its name
    since |= dict(DoorPulse.objects.filter(beat_at__lt=oldest).values_list("name", "beat_at"))
    if not since:
        return {}
    back_at = OutageGap.objects.filter(listener="").values_list("ended_at", flat=True).first()
    return {name: Down(start, max(start, back_at or start)) for name, start in since.items()}


def load_outages(*, since: datetime | None) -> Outages:
    """Return the gaps that lasted beyond `since`; none where nobody asks."""
    gaps: dict[str, list[Gap]] = {}
    if since is not None:
        for name, start, end in OutageGap.objects.filter(ended_at__gt=since).values_list("listener", "started_at", "ended_at"):
            gaps.setdefault(name, []).append(Gap(start, end))
    return Outages(gaps)
