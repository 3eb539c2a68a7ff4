"""Sparkplug B payloads whose metrics have names, behind the same gate as every other format. Pure.

Source: Eclipse Sparkplug 3.0.0 §6.4.6 (metrics), §6.4.16 (data types: signed integers travel as unsigned ones of the same
width), §6.4.11 (quality: 192 good, 500 stale, else bad). Aliases get their names in `protocols.sparkplug.naming`.
"""

from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from protocols.codecs.gate import check_size, check_values
from protocols.codecs.json import MAX_VALUES, read_timestamp
from protocols.errors import InvalidShapeError, MalformedSparkplugError, NotFiniteError, TooManyValuesError, UnknownAliasError
from protocols.sparkplug.messages import parse_payload
from protocols.types import Sample
from telemetry.qualities import BAD, GOOD, UNCERTAIN

_QUALITIES = {192: GOOD, 500: UNCERTAIN}
_SIGNED_BITS = {1: 32, 2: 32, 3: 32, 4: 64}  # Int8 to Int64; the small ones come as 32 bits
_LAST_PLAIN_KIND = 15  # numbers, booleans, texts, times, UUIDs; above are data sets, bytes, files, templates
# What an edge node tells about itself rather than about its machine.
_OWN_METRICS = ("Node Control/", "Device Control/", "bdSeq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_sparkplug(frame: bytes, *, max_bytes: int) -> list[Sample]:
    """Decode one frame. Null metrics and those that are no plain value are samples without a value.

    Raises:
        MessageError: a subclass that names what is wrong; nothing of the frame is usable then.
    """
    check_size(frame, max_bytes=max_bytes)
    payload = parse_payload(frame, max_bytes=max_bytes)
    if payload is None:
        raise MalformedSparkplugError("The message is no Sparkplug B payload (protobuf, names in UTF-8); check what the topic says it is.")
    if len(payload.metrics) > MAX_VALUES:
        raise TooManyValuesError(f"The message holds more than {MAX_VALUES} metrics; send them in several messages.")
    ts = _read_time(payload)
    samples = [_read_metric(metric, ts) for metric in payload.metrics if not metric.name.startswith(_OWN_METRICS)]
    check_values([[sample.metric, sample.value] for sample in samples])
    return samples


def _read_metric(metric: Any, ts: datetime | None) -> Sample:
    if not metric.name:
        if metric.HasField("alias"):
            raise UnknownAliasError(f"No birth has named the alias {metric.alias}; the node has been asked for its births.")
        raise InvalidShapeError("A metric has neither a name nor an alias; give each one of them.")
    is_plain = metric.datatype <= _LAST_PLAIN_KIND and not metric.is_null
    return Sample(metric.name, _read_value(metric) if is_plain else None, _read_time(metric) or ts, _read_quality(metric))


def _read_time(part: Any) -> datetime | None:
    """Return the time, in ms since 1970; 0 counts as none, as some devices send it."""
    if not part.timestamp:
        return None
    read_timestamp(part.timestamp)  # refuses what is no time
    return _EPOCH + timedelta(milliseconds=part.timestamp)


def _read_value(metric: Any) -> bool | float | str | None:
    field = metric.WhichOneof("value")
    value: Any = getattr(metric, field) if field else None
    match field:
        case "int_value" | "long_value":
            bits = _SIGNED_BITS.get(metric.datatype, 0)
            return float(value - (1 << bits) if bits and value >> (bits - 1) else value)
        case "float_value" | "double_value":
            if not isfinite(value):
                raise NotFiniteError("A number is not finite; mark the metric as null instead.")
            return float(value)
        case "boolean_value":
            return bool(value)
        case "string_value":
            return str(value)
    return None


def _read_quality(metric: Any) -> int:
    for key, value in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key.lower() == "quality" and value.WhichOneof("value") in {"int_value", "long_value"}:
            return _QUALITIES.get(value.int_value or value.long_value, BAD)
    return GOOD
