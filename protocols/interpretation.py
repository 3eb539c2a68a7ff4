"""Judges decoded samples against what is known about device and metric. Pure: values in, readings and refusals out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from devices.keys import is_metric_key
from devices.types import DeviceRef, MetricRef
from protocols.types import NoValue, Refusal, Sample
from telemetry.qualities import UNCERTAIN
from telemetry.types import NewReading

MAX_TEXT_LENGTH = 1024
MAX_MAGNITUDE = 1e100  # PostgreSQL's avg() squares sums, and those of many larger numbers overflow there
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """How old a reading may be when it is stored, and how far ahead of the time of receipt."""

    max_age: timedelta
    max_ahead: timedelta


class Receipt(msgspec.Struct, frozen=True, gc=False):
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
    metrics: Mapping[str, MetricRef],
    receipt: Receipt,
    policy: TimePolicy,
) -> tuple[list[tuple[NewReading, MetricRef]], list[Refusal]]:
    """Turn the samples of one message into readings, and say why the others are refused. Nulls are refused as `NoValue`.

    `metrics` are those of the device's type, by key.
    """
    readings: list[tuple[NewReading, MetricRef]] = []
    refusals: list[Refusal] = []
    occurrences: dict[str, int] = {}
    oldest, newest = receipt.now - policy.max_age, receipt.received_at + policy.max_ahead
    for sample in samples:
        ts = sample.ts
        if ts is None:
            ts = receipt.stamp + occurrences.get(sample.metric, 0) * _TICK
            occurrences[sample.metric] = occurrences.get(sample.metric, 0) + 1
        metric = metrics.get(sample.metric)
        fault = None
        # The first question answers for nearly all that comes; the second finds out what is wrong, if anything is.
        if not (oldest <= ts <= newest and _is_plain_number(sample.value, metric)):
            fault = _find_value_fault(sample) or _find_time_fault(sample, ts, oldest, newest)
            if fault is None and sample.value is None:
                refusals.append(_make_no_value(sample.metric, ts, device, metric, receipt))
                continue
            fault = fault or _find_misfit(sample, metric, device)
        if metric is None or fault is not None:
            reason, detail = fault or _explain_missing(sample.metric, device)
            refusals.append(Refusal(receipt.index, reason, detail, sample.metric))
        else:
            readings.append((_make_reading(sample, device, metric, ts, receipt.received_at), metric))
    return readings, refusals


def _is_plain_number(value: bool | float | str | None, metric: MetricRef | None) -> bool:
    return type(value) is float and metric is not None and metric.data_type == "number" and -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE


def _find_time_fault(sample: Sample, ts: datetime, oldest: datetime, newest: datetime) -> tuple[str, str] | None:
    name = sample.metric[:64]
    if ts < oldest:
        return "too_old", f"{name!r} is from {ts.isoformat()}; readings may go back to {oldest.date().isoformat()}. Is ts in milliseconds?"
    if ts > newest:
        return "in_future", f"{name!r} is from {ts.isoformat()}, later than now; check the device's clock."
    return None


def _find_value_fault(sample: Sample) -> tuple[str, str] | None:
    name = sample.metric[:64]
    if isinstance(sample.value, float) and abs(sample.value) > MAX_MAGNITUDE:
        return "out_of_range", f"{name!r} is larger than anything that is measured; numbers may reach ±{MAX_MAGNITUDE:g}."
    if isinstance(sample.value, str) and len(sample.value) > MAX_TEXT_LENGTH:
        return "text_too_long", f"The text of {name!r} has {len(sample.value)} characters; send at most {MAX_TEXT_LENGTH}."
    return None


def _make_no_value(key: str, ts: datetime, device: DeviceRef, metric: MetricRef | None, receipt: Receipt) -> NoValue:
    detail = f"{key[:64]!r} is null, and had no value before that could be marked as bad."
    return NoValue(receipt.index, "no_value", detail, key, device=device, known=metric, ts=ts, received_at=receipt.received_at)


def _explain_missing(key: str, device: DeviceRef) -> tuple[str, str]:
    if not is_metric_key(key):
        return (
            "invalid_metric",
            f"{key[:64]!r} is no metric name: start with a letter, then letters, digits, _ . : / - or blank, 64 at most.",
        )
    if not device.registers_unknown_metrics:
        return "unknown_metric", f"The device type has no metric {key!r}; add it to the type, or let the type register unknown metrics."
    return "too_many_metrics", f"The device type, or the whole organisation, has as many metrics as it may; {key!r} was not added."


def _find_misfit(sample: Sample, metric: MetricRef | None, device: DeviceRef) -> tuple[str, str] | None:
    if metric is None:
        return _explain_missing(sample.metric, device)
    if sample.value is None or _fits(sample.value, metric.data_type):
        return None
    return "wrong_type", f"{metric.key!r} is a {metric.data_type} and got a {data_type_of(sample.value)}; send what the metric expects."


def _fits(value: bool | float | str, data_type: str) -> bool:
    """Tell whether the value suits the type; a boolean may come as 0 or 1, as many controllers send it."""
    return data_type_of(value) == data_type or (data_type == "boolean" and value in {0.0, 1.0})


def _make_reading(sample: Sample, device: DeviceRef, metric: MetricRef, ts: datetime, received_at: datetime) -> NewReading:
    text = sample.value if isinstance(sample.value, str) else None
    value = float(sample.value) if text is None else None  # type: ignore[arg-type]  # null is no reading
    quality = sample.quality
    if _is_implausible(value, metric) or (sample.unit and metric.unit and sample.unit != metric.unit):
        quality = max(quality, UNCERTAIN)
    return NewReading(device.id, metric.id, ts, received_at, value, text, quality)


def _is_implausible(value: float | None, metric: MetricRef) -> bool:
    if value is None:
        return False
    return (metric.minimum is not None and value < metric.minimum) or (metric.maximum is not None and value > metric.maximum)
