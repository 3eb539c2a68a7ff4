"""What becomes of nulls, whatever the protocol: the value is unknown, so the one before is stored again with quality bad.

As OPC UA nodes with a bad status and Modbus devices that fall silent have it. A metric that never had a value has none to
keep; such nulls are refused, once for a message: a Sparkplug birth may list hundreds.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime

from devices.types import MetricRef
from protocols.handoff import StoredValue
from protocols.types import NoValue, Refusal
from telemetry.qualities import BAD
from telemetry.selectors import find_values_before
from telemetry.types import NewReading, NumberOrText

NAMES_SHOWN = 5


def settle_nulls(
    values: Sequence[StoredValue], refusals: Sequence[Refusal], sample_counts: MutableMapping[int, int]
) -> tuple[list[StoredValue], list[Refusal]]:
    """Return values and refusals with the nulls among the refusals settled; `sample_counts` counts those that stay as one."""
    nulls = [refusal for refusal in refusals if isinstance(refusal, NoValue)]
    marked = mark_bad(nulls, values)
    kept = [refusal for refusal in refusals if not isinstance(refusal, NoValue)]
    unknown: dict[int, list[NoValue]] = {}
    for place, null in enumerate(nulls):
        if place not in marked:
            unknown.setdefault(null.index, []).append(null)
    for index, group in unknown.items():
        kept.append(_refuse_once(group))
        sample_counts[index] -= len(group) - 1
    return [*values, *marked.values()], kept


def mark_bad(nulls: Sequence[NoValue], values: Sequence[StoredValue] = ()) -> dict[int, StoredValue]:
    """Return by their places the bad readings that nulls become; `values` came with them."""
    wanted = {place: (null, null.known) for place, null in enumerate(nulls) if null.known is not None and null.device.id}
    stored = find_values_before({place: (null.device.id, metric.id, null.ts) for place, (null, metric) in wanted.items()})
    came = _by_series(values, {(null.device.id, metric.id) for null, metric in wanted.values()})
    marked = {}
    for place, (null, metric) in wanted.items():
        readings = [reading for reading in came.get((null.device.id, metric.id), ()) if reading.ts <= null.ts]
        before = [(reading.ts, _value_of(reading)) for reading in readings] + ([stored[place]] if place in stored else [])
        if before:
            marked[place] = _bad(null, metric, max(before, key=_time)[1])
    return marked


def _by_series(values: Sequence[StoredValue], wanted: set[tuple[int, int]]) -> Mapping[tuple[int, int], list[NewReading]]:
    found: dict[tuple[int, int], list[NewReading]] = {}
    for value in values:
        series = (value.device.id, value.metric.id)
        if series in wanted:
            found.setdefault(series, []).append(value.reading)
    return found


def _value_of(reading: NewReading) -> NumberOrText:
    return reading.text if reading.text is not None else reading.value or 0.0


def _time(point: tuple[datetime, NumberOrText]) -> datetime:
    return point[0]


def _bad(null: NoValue, metric: MetricRef, value: NumberOrText) -> StoredValue:
    number, text = (None, value) if isinstance(value, str) else (value, None)
    return StoredValue(null.device, metric, NewReading(null.device.id, metric.id, null.ts, null.received_at, number, text, BAD))


def _refuse_once(group: Sequence[NoValue]) -> Refusal:
    names = ", ".join(repr((null.metric or "")[:64]) for null in group[:NAMES_SHOWN])
    more = f" and {len(group) - NAMES_SHOWN} more" if len(group) > NAMES_SHOWN else ""
    detail = f"{names}{more}: no value came, and none before, so there is nothing to mark as bad; counted once for the message."
    return Refusal(group[0].index, group[0].reason, detail, group[0].metric)
