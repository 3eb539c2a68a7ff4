"""What the watch over silent devices reads and writes. It runs above, where listeners and incidents are known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from devices.models import Device, StatusChange
from devices.services import ACTIVITY_STEP
from devices.status import DEVICE_STATUSES, OFFLINE_FACTOR, DeviceStatus

CHANGES_KEPT = timedelta(days=7)

_FACTOR = f"(CASE d.status WHEN 'online' THEN 1 ELSE {OFFLINE_FACTOR} END)"
_DUE_AT = f"d.last_seen_at + %(step)s::interval + t.inactivity_timeout * {_FACTOR}"
_WATCHED = f"""
FROM devices_device d JOIN devices_devicetype t ON t.id = d.device_type_id
WHERE d.status IN ('online', 'stale') AND d.is_enabled AND d.last_seen_via <> ALL (%(unheard)s::text[]) AND {_DUE_AT}
"""
_SILENT_SQL = f"SELECT d.id, d.last_seen_at, d.last_seen_via, t.inactivity_timeout {_WATCHED} < %(now)s"
_NEXT_SQL = f"SELECT min({_DUE_AT}) {_WATCHED} >= %(now)s"

# Only where nothing was heard meanwhile.
_CHANGE_SQL = """
WITH due AS (
    SELECT d.id, d.status AS before, c.after
    FROM unnest(%s::integer[], %s::timestamptz[], %s::text[]) AS c(id, seen_at, after)
    JOIN devices_device d ON d.id = c.id
    WHERE d.last_seen_at = c.seen_at AND d.status <> c.after
    ORDER BY d.id
    FOR NO KEY UPDATE OF d
), changed AS (
    UPDATE devices_device d SET status = due.after, status_since = %s FROM due WHERE d.id = due.id
    RETURNING d.id, due.before, due.after
)
INSERT INTO devices_statuschange (device_id, at, before, after, is_told) SELECT id, %s, before, after, false FROM changed
"""


@dataclass(frozen=True, slots=True)
class SilentDevice:
    """A device of which nothing came for longer than its status allows, gaps not considered."""

    id: int
    last_seen_at: datetime
    via: str
    timeout: timedelta

    @property
    def counted_from(self) -> datetime:
        """Something may have come until then: `last_seen_at` is kept only so exactly."""
        return self.last_seen_at + ACTIVITY_STEP


@dataclass(frozen=True, slots=True)
class NewStatus:
    """A device that goes by silence."""

    device: SilentDevice
    status: DeviceStatus


@dataclass(frozen=True, slots=True)
class ToldChange:
    """How a device is, as pages see it."""

    device: UUID
    site: UUID | None
    status: DeviceStatus
    since: datetime
    last_seen_at: datetime | None


def list_silent(*, now: datetime, unheard: Collection[str]) -> list[SilentDevice]:
    """Return the devices whose status silence may have changed; not those of listeners that are `unheard` now."""
    with connection.cursor() as cursor:
        cursor.execute(_SILENT_SQL, _bounds(now, unheard))
        return [SilentDevice(*row) for row in cursor.fetchall()]


def next_silence_at(*, now: datetime, unheard: Collection[str]) -> datetime | None:
    """Return when the next of all other devices will have been silent for too long."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_SQL, _bounds(now, unheard))
        due_at: datetime | None = cursor.fetchone()[0]
    return due_at


def _bounds(now: datetime, unheard: Collection[str]) -> dict[str, Any]:
    return {"now": now, "unheard": list(unheard), "step": ACTIVITY_STEP}


def change_statuses(*, changes: Sequence[NewStatus], now: datetime) -> int:
    """Write statuses that silence has brought; return how many: a device that was heard meanwhile keeps its own."""
    if not changes:
        return 0
    devices = [change.device for change in changes]
    with connection.cursor() as cursor:
        cursor.execute(
            _CHANGE_SQL, [[d.id for d in devices], [d.last_seen_at for d in devices], [change.status for change in changes], now, now]
        )
        return int(cursor.rowcount)


def mark_offline_raised(*, device_ids: Collection[int], is_raised: bool) -> None:
    """Remember for which devices an alert says that they are offline."""
    Device.objects.filter(id__in=sorted(device_ids)).update(is_offline_raised=is_raised)


@transaction.atomic
def take_untold_changes(*, now: datetime) -> list[ToldChange]:
    """Return how devices are now whose changes pages were not told of, and forget changes of a week ago."""
    untold = StatusChange.objects.filter(is_told=False).select_for_update(of=("self",), skip_locked=True, no_key=True)
    changes = list(untold.select_related("device").order_by("id"))
    StatusChange.objects.filter(id__in=[change.id for change in changes]).update(is_told=True)
    StatusChange.objects.filter(at__lt=now - CHANGES_KEPT).delete()
    devices = {change.device_id: change.device for change in changes}.values()
    return [ToldChange(d.uuid, d.site_id, status_of(d), d.status_since, d.last_seen_at) for d in devices]


def status_of(device: Device) -> DeviceStatus:
    """Return the device's status by its type."""
    return next(status for status in DEVICE_STATUSES if status == device.status)
