"""SenML packs in JSON and CBOR: base fields, resolution, relative times.

Source: RFC 8428 §4 (fields and resolution), §5.1, §6 (CBOR labels), §12.1 (units); RFC 9039 (device URNs).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from protocols.codecs.cbor import parse_cbor
from protocols.codecs.gate import check_values, parse_json
from protocols.codecs.json import MAX_UNIT_LENGTH, check_count, read_timestamp
from protocols.codecs.names import metric_of
from protocols.errors import InvalidShapeError, InvalidTimestampError
from protocols.types import Sample

VERSION = 10
LABELS = {
    -1: "bver",
    -2: "bn",
    -3: "bt",
    -4: "bu",
    -5: "bv",
    -6: "bs",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
}
FIELDS = frozenset(LABELS.values())
UNITS = {"Cel": "°C", "%RH": "%", "Ohm": "Ω", "m/s2": "m/s²", "m2": "m²", "m3": "m³", "m3/s": "m³/s", "W/m2": "W/m²"}
# What a device's own name means by its unit, as in the RFC's §5.1.3: there humidity, place and battery share one name.
_NAMED_BY_UNIT = {"lon": "lon", "lat": "lat", "%EL": "battery", "EL": "battery"}
_TEXTS = ("bn", "bu", "n", "u", "vs", "vd")
_NUMBERS = ("bver", "bt", "bv", "bs", "v", "s", "t", "ut")
_BASES = ("bn", "bt", "bu", "bv", "bs")
_RELATIVE_BELOW = 2**28  # seconds; smaller times count from now (§4.5.3)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*\Z")
_JSON_STARTS = b"[ \t\r\n{"


def decode_senml(payload: bytes, *, max_bytes: int, device: str, sole_metric: str, received_at: datetime) -> list[Sample]:
    """Decode one pack, JSON or CBOR by its first byte.

    Raises:
        MessageError: a subclass that names what is wrong; nothing of the pack is usable then.
    """
    if payload[:1] in _JSON_STARTS:
        document = parse_json(payload, max_bytes=max_bytes)
    else:
        document = parse_cbor(payload, max_bytes=max_bytes, labels=LABELS)
    return read_senml(document, device=device, sole_metric=sole_metric, received_at=received_at)


def is_senml(document: object) -> bool:
    """Tell a SenML pack from telemetry JSON: a list whose first record has SenML's fields only, and a name as text."""
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    first = document[0]
    named = first.get("bn", first.get("n"))
    return isinstance(named, str) and first.keys() <= FIELDS and len(first) > 1


def read_senml(document: object, *, device: str, sole_metric: str, received_at: datetime) -> list[Sample]:
    """Resolve the records of a pack that has passed the gate."""
    if not isinstance(document, list):
        raise InvalidShapeError('A SenML pack is a list of records, such as [{"n": "temperature", "v": 21.5}].')
    base: dict[str, object] = {}
    samples: list[Sample] = []
    units: dict[str, str] = {}
    for record in document:
        _check_record(record)
        base |= {field: record[field] for field in _BASES if field in record}
        resolved = _resolve(record, base, device, sole_metric, received_at)
        _expect_one_unit(resolved, units)
        samples += resolved
        check_count(samples)
    if not samples:
        raise InvalidShapeError('The pack holds no value; send at least one, such as [{"n": "temperature", "v": 21.5}].')
    return samples


def _check_record(record: object) -> None:
    if not isinstance(record, dict):
        raise InvalidShapeError('A SenML record is an object, such as {"n": "temperature", "v": 21.5}.')
    for field, value in record.items():
        if field.endswith("_"):
            raise InvalidShapeError(f"The field {field[:64]!r} must be understood and is not; leave it out.")
        if field in _TEXTS and not isinstance(value, str):
            raise InvalidShapeError(f"The SenML field {field!r} must be a text.")
        if field in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidShapeError(f"The SenML field {field!r} must be a number.")
    if not isinstance(record.get("vb", False), bool):
        raise InvalidShapeError("The SenML field 'vb' must be true or false.")
    if record.get("bver", VERSION) > VERSION:
        raise InvalidShapeError(f"The pack has SenML version {record['bver']}; versions up to {VERSION} are read.")


def _expect_one_unit(samples: Sequence[Sample], units: dict[str, str]) -> None:
    """Refuse what would be one series in two units; its values of one time would pass for copies of each other."""
    for sample in samples:
        if sample.unit and units.setdefault(sample.metric, sample.unit) != sample.unit:
            detail = (
                f"{sample.metric[:64]!r} comes in {units[sample.metric]} and in {sample.unit}; give what has another unit another name."
            )
            raise InvalidShapeError(detail)


def _resolve(
    record: Mapping[str, object], base: Mapping[str, object], device: str, sole_metric: str, received_at: datetime
) -> Sequence[Sample]:
    """Return the value and the sum of one record; nothing for a record of base fields alone. Binary data is no value."""
    values = [field for field in ("v", "vs", "vb", "vd") if field in record]
    if len(values) > 1:
        raise InvalidShapeError(f"A SenML record has one value; this one has {' and '.join(values)}.")
    if not values and "s" not in record:
        if record.keys() & {"n", "u", "t", "ut"}:
            raise InvalidShapeError("The SenML record has neither a value nor a sum; send v, vs, vb or s.")
        return ()
    base_name = str(base.get("bn", ""))
    name = base_name + str(record.get("n", ""))
    if not _NAME.match(name):
        raise InvalidShapeError(f"{name[:80]!r} is no SenML name: letters, digits and - : . / _, beginning with a letter or digit.")
    unit = _read_unit(str(record.get("u", base.get("bu", ""))))
    metric = metric_of(name, base=base_name, device=device, sole_metric=_NAMED_BY_UNIT.get(unit, sole_metric))
    ts, is_relative = _read_time(_number(base, "bt") + _number(record, "t"), received_at)
    samples = []
    if values:
        value = _add(base, "bv", record, "v") if values[0] == "v" else None if values[0] == "vd" else record[values[0]]
        samples.append(Sample(metric, value, ts, 0, unit, is_relative))  # type: ignore[arg-type]  # _check_record knows its type
    if "s" in record:
        samples.append(Sample(f"{metric}.sum", _add(base, "bs", record, "s"), ts, 0, "", is_relative))
    return samples


def _number(fields: Mapping[str, object], name: str) -> float:
    return float(fields.get(name, 0))  # type: ignore[arg-type]  # _check_record has seen that it is a number


def _add(base: Mapping[str, object], base_field: str, record: Mapping[str, object], field: str) -> float:
    total = _number(base, base_field) + _number(record, field)
    check_values(total)
    return total


def _read_time(seconds: float, received_at: datetime) -> tuple[datetime | None, bool]:
    """Return the time, and whether it counts from the receipt; none at all means now (§4.5.3)."""
    if seconds == 0:
        return None, False
    if seconds >= _RELATIVE_BELOW:
        return read_timestamp(seconds * 1000), False
    try:
        return received_at + timedelta(seconds=seconds), True
    except OverflowError as exc:
        raise InvalidTimestampError(f"The relative time {seconds:g} s leads out of the calendar; send seconds from now.") from exc


def _read_unit(unit: str) -> str:
    if len(unit) > MAX_UNIT_LENGTH:
        raise InvalidShapeError(f"The unit {unit[:40]!r} must have at most {MAX_UNIT_LENGTH} characters.")
    return UNITS.get(unit, unit)
