"""What the chart on a device's page draws: at most about a thousand points, however long the span."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.models import Device, Metric
from rules.selectors import load_active_rules
from rules.types import ActiveRule
from telemetry.bucket_history import gap_after
from telemetry.curves import load_curve


@dataclass(frozen=True, slots=True)
class Span:
    """A choice of how far back the chart looks."""

    label: str
    length: timedelta


SPANS = {
    "15m": Span("15 min", timedelta(minutes=15)),
    "1h": Span("1 h", timedelta(hours=1)),
    "24h": Span("24 h", timedelta(hours=24)),
    "7d": Span("7 d", timedelta(days=7)),
    "30d": Span("30 d", timedelta(days=30)),
}
POINTS = 1000


def load_chart(*, device: Device, metric: Metric, span: Span, now: datetime) -> dict[str, object]:
    """Return `points` as [ms since 1970, value, quality], oldest first, with nulls where nothing came for too long."""
    start = now - span.length
    stretches = load_curve(device=device, metric=metric, start=start, end=now + timedelta(minutes=10), count=POINTS)
    points: list[list[float | None]] = []
    for stretch in stretches:
        if points:
            points.append([_ms(stretch[0].ts) - 1, None, None])
        points += [[_ms(point.ts), point.value, point.quality] for point in stretch]
    return {
        "metric": metric.key,
        "name": str(metric),
        "unit": metric.unit,
        "is_boolean": metric.data_type == Metric.DataType.BOOLEAN,
        "from": _ms(start),
        "to": _ms(now),
        "gap_ms": gap_after(metric, device).total_seconds() * 1000,
        "points": points,
        "limits": _load_limits(device, metric),
    }


def list_threshold_rules(device: Device) -> list[ActiveRule]:
    """Return the enabled rules that watch this device, by name; thresholds are the only kind so far."""
    rules = sorted(load_active_rules(), key=lambda rule: rule.name)
    return [rule for rule in rules if rule.scope.covers(device.pk, device.device_type_id, device.site_id)]


def _load_limits(device: Device, metric: Metric) -> list[dict[str, object]]:
    return [
        {"name": rule.name, "severity": rule.severity, "operator": rule.condition.operator, "value": rule.condition.threshold}
        for rule in list_threshold_rules(device)
        if rule.condition.metric == metric.key
    ]


def _ms(moment: datetime) -> float:
    return round(moment.timestamp() * 1000)
