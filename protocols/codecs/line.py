r"""InfluxDB line protocol: `pump-7 temperature=21.5,running=t 1763600000000000000`.

The message comes from one device. Its metric is the field, with the measurement in front where that names something
else than the device: `motor current=4.2` is `motor.current`, `temperature value=21.5` is `temperature`. Tags that tell
series apart follow, sorted: `cpu,core=1 load=3` is `cpu.load/core:1`, so that no two series become one.

Source: InfluxDB v2 reference, "Line protocol" (syntax, data types, special characters).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocols.codecs.gate import check_values, parse_text
from protocols.codecs.json import check_count
from protocols.codecs.plain import read_scalar
from protocols.errors import DuplicateKeyError, InvalidShapeError, InvalidTimestampError, MalformedLineError, MessageError, OtherDeviceError
from protocols.types import Sample

NS_PER_UNIT = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # of the year 9999
_BOOLEANS = {word: word[0] in "tT" for word in ("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE")}

_MEASUREMENT = re.compile(r"(?:\\[, ]|[^, \n])++")
_TAG = re.compile(r",((?:\\[,= ]|[^,= \n])++)=((?:\\[,= ]|[^,= \n])++)")
_BLANKS = re.compile(r" ++")
_FIELD = re.compile(r'((?:\\[,= ]|[^,= \n])++)=("(?:\\["\\]|[^"])*+"|[^," \n]++)')
_TIME = re.compile(r" ++(-?[0-9]{1,30})(?= *(?:\n|\Z))")
_END = re.compile(r" *(?:\n|\Z)")
_SKIPPED = re.compile(r"(?:[ \n]|#[^\n]*)++")
_FIELD_KEY = re.compile(r"(?:\\[,= ]|[^,= \n])++=")
_KEY_ESCAPES = re.compile(r"\\([,= ])")
_TEXT_ESCAPES = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class _Series:
    """What stands before the fields of a line."""

    measurement: str
    tags: dict[str, str]


def looks_like_line(text: str) -> bool:
    """Tell line protocol from other text, by how its first line begins."""
    try:
        _, position = _read_series(text, _skip(text, 0))
    except MessageError:
        return False
    return _FIELD_KEY.match(text, position) is not None


def decode_line(payload: bytes, *, max_bytes: int, device: str, precision: str) -> list[Sample]:
    """Decode the lines of one message; `precision` is the unit of its time stamps: ns, us, ms or s.

    Raises:
        MessageError: a subclass that names what is wrong; nothing of the message is usable then.
    """
    text = parse_text(payload, max_bytes=max_bytes).replace("\r\n", "\n")
    samples: list[Sample] = []
    position = _skip(text, 0)
    while position < len(text):
        position = _read_line(text, position, samples, device, precision)
        check_count(samples)
        position = _skip(text, position)
    if not samples:
        raise InvalidShapeError("The message holds no value; send at least one line, such as: pump-7 temperature=21.5")
    return samples


def _skip(text: str, position: int) -> int:
    """Pass over empty lines and comments."""
    skipped = _SKIPPED.match(text, position)
    return skipped.end() if skipped else position


def _read_line(text: str, position: int, samples: list[Sample], device: str, precision: str) -> int:
    """Add the samples of the line that begins at `position`; return where the next one does."""
    start = position
    series, position = _read_series(text, position)
    _check_device(series, device)
    fields: dict[str, bool | float | str] = {}
    while field := _FIELD.match(text, position):
        key = _KEY_ESCAPES.sub(r"\1", field[1])
        if key in fields:
            raise DuplicateKeyError(f"The field {key[:64]!r} appears twice in one line; send each field once.")
        fields[key] = _read_value(key, field[2])
        position = field.end()
        if not text.startswith(",", position):
            break
        position += 1
    else:
        raise _malformed(text, start, "a field is not name=value")
    ts = None
    if stamp := _TIME.match(text, position):
        ts = _read_time(stamp[1], precision)
        position = stamp.end()
    end = _END.match(text, position)
    if end is None:
        raise _malformed(text, start, "after the fields comes nothing, or a blank and the time stamp as a whole number")
    samples += [Sample(_metric_of(series, key, device), value, ts) for key, value in fields.items()]
    return end.end()


def _read_series(text: str, position: int) -> tuple[_Series, int]:
    start = position
    measurement = _MEASUREMENT.match(text, position)
    if measurement is None:
        raise _malformed(text, start, "it begins without a measurement")
    tags: dict[str, str] = {}
    position = measurement.end()
    while tag := _TAG.match(text, position):
        key, value = (_KEY_ESCAPES.sub(r"\1", part) for part in tag.groups())
        if key in tags:
            raise DuplicateKeyError(f"The tag {key[:64]!r} appears twice in one line; send each tag once.")
        tags[key] = value
        position = tag.end()
    blanks = _BLANKS.match(text, position)
    if blanks is None:
        raise _malformed(text, start, "a blank between the series and its fields is missing")
    return _Series(_KEY_ESCAPES.sub(r"\1", measurement[0]), tags), blanks.end()


def _check_device(series: _Series, device: str) -> None:
    named = series.tags.get("device", device)
    if device and named != device:
        raise OtherDeviceError(f"The tag device={named[:64]!r} names another device than {device!r}, which sent it; send for one device.")


def _metric_of(series: _Series, field: str, device: str) -> str:
    """Name the metric; see the module. A tag whose value is the device's key, and the tag `device`, tell nothing apart."""
    metric = field
    if series.measurement != device:
        metric = series.measurement if field == "value" else f"{series.measurement}.{field}"
    told_apart = sorted((key, value) for key, value in series.tags.items() if value != device and key != "device")
    return metric + "".join(f"/{key}:{value}" for key, value in told_apart)


def _read_value(key: str, raw: str) -> bool | float | str:
    if raw[0] == '"':
        return _TEXT_ESCAPES.sub(r"\1", raw[1:-1])
    if raw in _BOOLEANS:
        return _BOOLEANS[raw]
    whole = raw[:-1]
    if raw[-1] in "iu" and whole.removeprefix("-").isascii() and whole.removeprefix("-").isdecimal():
        if raw[-1] == "i" or raw[0] != "-":
            number = float(whole)
            check_values(number)
            return number
    elif (value := read_scalar(raw)) is not None and not isinstance(value, bool):
        return value
    raise MalformedLineError(f'The value {raw[:40]!r} of {key[:64]!r} is none of 21.5, 21i, 21u, t, f and "text".')


def _read_time(raw: str, precision: str) -> datetime:
    ns = int(raw) * NS_PER_UNIT[precision]
    if not 0 <= ns // 1_000_000_000 <= _LAST_SECOND:
        raise InvalidTimestampError(f"The time stamp {raw[:40]} is not valid; send {precision} since 1970, as the device type says.")
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def _malformed(text: str, start: int, problem: str) -> MalformedLineError:
    shown = text[start:].split("\n", 1)[0][:60]
    return MalformedLineError(f"The line {shown!r} is no line protocol: {problem}. Send: measurement field=value[,field=value] [time].")
