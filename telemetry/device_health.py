"""How a device has been doing: its status, its data, its credentials, over the last 24 hours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count

from devices.metric_numbers import count_free_numbers
from devices.models import Device, Protocol
from devices.selectors import list_valid_credentials
from telemetry.health_findings import Call, Finding, HealthFigures, find_health
from telemetry.models import Quality, RejectedMessage

SPAN = timedelta(hours=24)
ERRORS_SHOWN = 5
CALLED_PROTOCOLS = (Protocol.OPCUA, Protocol.MODBUS)

# By minutes, of which a day has only so many, however often the device sends.
_QUALITY_SQL = """
SELECT count(*), count(*) FILTER (WHERE r.quality = %(uncertain)s), count(*) FILTER (WHERE r.quality = %(bad)s)
FROM telemetry_latestreading l CROSS JOIN LATERAL (
    SELECT quality FROM telemetry_minuterollup WHERE device_id = l.device_id AND metric_id = l.metric_id AND bucket >= %(since)s
) r WHERE l.device_id = %(device)s
"""
_SKEW_SQL = """
SELECT extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY received_at - ts))::float8
FROM telemetry_latestreading WHERE device_id = %s AND received_at >= %s
"""


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What is known, and what is worth a word."""

    figures: HealthFigures
    findings: Sequence[Finding]
    silent_since: datetime | None
    rejected_by_reason: Mapping[str, int]
    last_errors: Sequence[RejectedMessage]


def load_device_health(*, device: Device, with_credentials: bool, now: datetime, calls: Sequence[Call] = ()) -> DeviceHealth:
    """Measure a device; of its credentials only where the caller may know of them. `calls` say how the platform reads it, if it does."""
    since = now - SPAN
    changes = device.status_changes.filter(at__gte=since).exclude(before=Device.Status.NEVER)
    uncertain, bad = _load_quality_shares(device, since)
    rejected = RejectedMessage.objects.filter(device=device, received_at__gte=since)
    counts = rejected.order_by().values_list("reason").annotate(count=Count("id")).order_by("-count", "reason")
    by_reason: dict[str, int] = dict(counts)
    valid = list(list_valid_credentials(device, now).values_list("expires_at", "rotated_at")) if with_credentials else []
    figures = HealthFigures(
        status=device.status,
        status_changes=changes.count(),
        bad_share=bad,
        uncertain_share=uncertain,
        clock_skew_seconds=_load_skew(device, since),
        rejected=sum(by_reason.values()),
        next_expiry_at=min((expires for expires, rotated in valid if expires is not None and rotated is None), default=None),
        has_valid_credential=bool(valid) if with_credentials and not calls and _logs_in(device) else None,
        metrics_left=count_free_numbers(),
        is_called=bool(calls) or is_called(device),
        calls=calls,
    )
    is_silent = device.status in {Device.Status.STALE, Device.Status.OFFLINE}
    return DeviceHealth(
        figures=figures,
        findings=find_health(figures, now),
        silent_since=device.last_seen_at if is_silent else None,
        rejected_by_reason=by_reason,
        last_errors=list(rejected.order_by("-received_at")[:ERRORS_SHOWN]),
    )


def _logs_in(device: Device) -> bool:
    """Tell whether the device comes by itself: neither is it called by the platform, nor does a gateway send for it."""
    return device.gateway_id is None and not is_called(device)


def is_called(device: Device) -> bool:
    """Tell whether a device is said to wait until the platform reads it."""
    return device.gateway_id is None and (device.protocol or device.device_type.protocol) in CALLED_PROTOCOLS


def _load_quality_shares(device: Device, since: datetime) -> tuple[float | None, float | None]:
    """Return which shares of its metrics' minutes had an uncertain and a bad value at worst."""
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {"device": device.id, "since": since, "uncertain": Quality.UNCERTAIN.value, "bad": Quality.BAD.value}
        cursor.execute(_QUALITY_SQL, parameters)
        minutes, uncertain, bad = cursor.fetchone()
    return (uncertain / minutes, bad / minutes) if minutes else (None, None)


def _load_skew(device: Device, since: datetime) -> float | None:
    """Return the median of receipt less source time of its newest values, in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(_SKEW_SQL, [device.id, since])
        skew: float | None = cursor.fetchone()[0]
    return skew
