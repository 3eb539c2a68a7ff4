"""The watch over silent devices: who became stale or offline, which incidents that brings, and when to look next."""

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from devices.credential_formats import slug_of_schema
from devices.live import push_statuses
from devices.status import STATUS_TIMER, device_status, next_change_at
from devices.watch import NewStatus, SilentDevice, change_statuses, list_silent, next_silence_at, take_untold_changes
from iiot_site.lib.schemas import current_schema
from protocols.device_incidents import LISTENER_GRACE, update_incidents
from protocols.outages import Outages, load_down_listeners, load_outages, record_pulse
from protocols.pulses import Pulse
from protocols.selectors import find_held_gap
from tenants.timers import hasten_timers

LOOK_AT_LEAST_EVERY = timedelta(minutes=5)
LOOK_AT_MOST_EVERY = timedelta(seconds=2)
WAIT_FOR_GATEWAY = timedelta(seconds=10)
WAIT_FOR_TABLES = timedelta(seconds=5)
HELD_JUST_NOW = timedelta(seconds=30)
WAIT_FOR_LISTENER = timedelta(seconds=60)


def beat(*, now: datetime, monotonic_seconds: float) -> None:
    """Note that the watch runs; must come before it looks at any device at that `now`."""
    record_pulse(pulse=Pulse(now, _host(), monotonic_seconds))
    down = load_down_listeners(now=now).values()
    if any(LISTENER_GRACE <= now - listener.counted_from < 2 * LISTENER_GRACE for listener in down):
        hasten_timers(kind=STATUS_TIMER, due_at=now)  # every tenant is told that its devices cannot be heard


@cache
def _host() -> str:
    """Return what changes with every start of the machine: its monotonic clock starts anew then."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    boot_id = boot.read_text().strip() if boot.exists() else str(os.getpid())
    return f"{platform.node()[:80]} {boot_id}"


def watch_devices(*, now: datetime) -> datetime:
    """Look at the devices of the current tenant; return when to look next. `now` must not be later than the last beat.

    Not while its tables fail: what its devices sent until the last message that is held is not known, and is no silence.
    """
    held = find_held_gap(tenant=slug_of_schema(current_schema()))
    if held is not None and now - held.end < HELD_JUST_NOW:
        return now + WAIT_FOR_TABLES
    down = load_down_listeners(now=now)
    silent = list_silent(now=now, unheard=list(down))
    outages = load_outages(since=min((device.last_seen_at for device in silent), default=None))
    if held is not None:
        outages = outages.add_for_all(held)
    change_statuses(changes=_find_changes(silent, outages, now), now=now)
    is_waiting = update_incidents(down=down, now=now)
    push_statuses(current_schema(), take_untold_changes(now=now))
    due = [now + LOOK_AT_LEAST_EVERY]
    if is_waiting:
        due.append(now + WAIT_FOR_GATEWAY)
    if down:
        due.append(now + WAIT_FOR_LISTENER)
    if (next_silence := next_silence_at(now=now, unheard=list(down))) is not None:
        due.append(next_silence)
    due += [change for device in silent if (change := _next_change(device, outages, now)) is not None]
    return max(min(due), now + LOOK_AT_MOST_EVERY)


def _find_changes(silent: Sequence[SilentDevice], outages: Outages, now: datetime) -> list[NewStatus]:
    """Return the status of each by the silence that counts."""
    return [
        NewStatus(device, device_status(device.counted_from, device.timeout, now, outages.of_listener(device.via))) for device in silent
    ]


def _next_change(device: SilentDevice, outages: Outages, now: datetime) -> datetime | None:
    return next_change_at(device.counted_from, device.timeout, now, outages.of_listener(device.via))
