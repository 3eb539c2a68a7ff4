"""What the chart on a device's page draws: at most about a thousand points, however long the span."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.models import Device, Metric
from rules.selectors import load_active_rules
from rules.types import ActiveRule
from telemetry.bucket_history import load_buckets
from telemetry.buckets import FixedBuckets
from telemetry.selectors import load_history
from telemetry.types import BucketQuery


@dataclass(frozen=True, slots=True)
class Span:
    """A choice of how far back the chart looks, and how wide a bucket is when raw points are too many."""

    label: str
    length: timedelta
    bucket: timedelta


SPANS = {
    "15m": Span("15 min", timedelta(minutes=15), timedelta(seconds=2)),
    "1h": Span("1 h", timedelta(hours=1), timedelta(seconds=5)),
    "24h": Span("24 h", timedelta(hours=24), timedelta(minutes=2)),
    "7d": Span("7 d", timedelta(days=7), timedelta(minutes=15)),
}
RAW_UP_TO = timedelta(hours=1)


def load_chart(*, device: Device, metric: Metric, span: Span, now: datetime) -> dict[str, object]:
    """Return `points` as [ms since 1970, mean, lowest, highest, quality], oldest first; raw ones where they are few."""
    start, end = now - span.length, now + timedelta(minutes=10)
    points: list[list[float | None]] | None = None
    if span.length <= RAW_UP_TO:
        page = load_history(device=device, metrics=[metric], start=start, end=end)
        if page.next_cursor is None:
            points = [[_ms(p.ts), *[float(p.value)] * 3, p.quality] for p in page.points if not isinstance(p.value, str)]
    bucket_ms = 0.0
    if points is None:
        query = BucketQuery(start=start, end=now, buckets=FixedBuckets(span.bucket))
        buckets = load_buckets(device=device, metrics=[metric], query=query, now=now).buckets
        points = [[_ms(b.ts), b.average, b.minimum, b.maximum, b.quality] for b in buckets]
        bucket_ms = span.bucket.total_seconds() * 1000
    return {
        "metric": metric.key,
        "name": str(metric),
        "unit": metric.unit,
        "is_boolean": metric.data_type == Metric.DataType.BOOLEAN,
        "from": _ms(start),
        "to": _ms(now),
        "bucket_ms": bucket_ms,
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
