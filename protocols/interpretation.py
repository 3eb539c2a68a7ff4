"""Judges decoded samples against what is known about device and metric. Pure: values in, readings and refusals out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.keys import is_metric_key
from devices.types import DeviceRef, MetricRef
from protocols.types import Refusal, Sample
from telemetry.types import NewReading

UNCERTAIN = 1
MAX_TEXT_LENGTH = 1024
MAX_MAGNITUDE = 1e100  # PostgreSQL's avg() squares sums, and those of many larger numbers overflow there
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """How old a reading may be when it is stored, and how far ahead of the time of receipt."""

    max_age: timedelta
    max_ahead: timedelta


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where and when a message came in and was read; `stamp` is the time of values without one, see `receipt_times`."""

    index: int
    received_at: datetime
    stamp: datetime
    now: datetime


def data_type_of(value: bool | float | str) -> str:
    """Return the data type a metric gets from its first value."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def count_ticks(samples: Sequence[Sample]) -> int:
    """Return how many distinct times the samples without one need: as often as the same metric occurs, at least one."""
    seen: dict[str, int] = {}
    for sample in samples:
        if sample.ts is None:
            seen[sample.metric] = seen.get(sample.metric, 0) + 1
    return max(seen.values(), default=1)


def interpret_samples(
    samples: Sequence[Sample],
    *,
    device: DeviceRef,
    metrics: Mapping[tuple[int, str], MetricRef],
    receipt: Receipt,
    policy: TimePolicy,
) -> tuple[list[tuple[NewReading, MetricRef]], list[Refusal]]:
    """Turn the samples of one message into readings, and say why the others are refused."""
    readings: list[tuple[NewReading, MetricRef]] = []
    refusals: list[Refusal] = []
    occurrences: dict[str, int] = {}
    for sample in samples:
        ts = sample.ts
        if ts is None:
            ts = receipt.stamp + occurrences.get(sample.metric, 0) * _TICK
            occurrences[sample.metric] = occurrences.get(sample.metric, 0) + 1
        metric = metrics.get((device.device_type_id, sample.metric))
        fault = _find_fault(sample, ts, receipt, policy)
        if metric is None:
            reason, detail = fault or _explain_missing(sample.metric, device)
        else:
            reason, detail = fault or _find_misfit(sample, metric)
        if metric is None or reason:
            refusals.append(Refusal(receipt.index, reason, detail, sample.metric))
        else:
            readings.append((_make_reading(sample, device, metric, ts, receipt.received_at), metric))
    return readings, refusals


def _find_fault(sample: Sample, ts: datetime, receipt: Receipt, policy: TimePolicy) -> tuple[str, str] | None:
    name = sample.metric[:64]
    if sample.value is None:
        return "no_value", f"{name!r} is null; leave out what has no value."
    if ts < receipt.now - policy.max_age:
        return "too_old", f"{name!r} is from {ts.isoformat()}; readings may be {policy.max_age.days} days old. Is ts in milliseconds?"
    if ts > receipt.received_at + policy.max_ahead:
        return "in_future", f"{name!r} is from {ts.isoformat()}, later than now; check the device's clock."
    if isinstance(sample.value, float) and abs(sample.value) > MAX_MAGNITUDE:
        return "out_of_range", f"{name!r} is larger than anything that is measured; numbers may reach ±{MAX_MAGNITUDE:g}."
    if isinstance(sample.value, str) and len(sample.value) > MAX_TEXT_LENGTH:
        return "text_too_long", f"The text of {name!r} has {len(sample.value)} characters; send at most {MAX_TEXT_LENGTH}."
    return None


def _explain_missing(key: str, device: DeviceRef) -> tuple[str, str]:
    if not is_metric_key(key):
        return (
            "invalid_metric",
            f"{key[:64]!r} is no metric name: start with a letter, then letters, digits, _ . : / - or blank, 64 at most.",
        )
    if not device.registers_unknown_metrics:
        return "unknown_metric", f"The device type has no metric {key!r}; add it to the type, or let the type register unknown metrics."
    return "too_many_metrics", f"The device type has as many metrics as it may; {key!r} was not added."


def _find_misfit(sample: Sample, metric: MetricRef) -> tuple[str, str]:
    if sample.value is None or _fits(sample.value, metric.data_type):
        return "", ""
    return "wrong_type", f"{metric.key!r} is a {metric.data_type} and got a {data_type_of(sample.value)}; send what the metric expects."


def _fits(value: bool | float | str, data_type: str) -> bool:
    """Tell whether the value suits the type; a boolean may come as 0 or 1, as many controllers send it."""
    return data_type_of(value) == data_type or (data_type == "boolean" and value in {0.0, 1.0})


def _make_reading(sample: Sample, device: DeviceRef, metric: MetricRef, ts: datetime, received_at: datetime) -> NewReading:
    text = sample.value if isinstance(sample.value, str) else None
    value = float(sample.value) if isinstance(sample.value, bool | float) else None
    quality = sample.quality
    if _is_implausible(value, metric) or (sample.unit and metric.unit and sample.unit != metric.unit):
        quality = max(quality, UNCERTAIN)
    return NewReading(device_id=device.id, metric_id=metric.id, ts=ts, received_at=received_at, value=value, text=text, quality=quality)


def _is_implausible(value: float | None, metric: MetricRef) -> bool:
    if value is None:
        return False
    return (metric.minimum is not None and value < metric.minimum) or (metric.maximum is not None and value > metric.maximum)
