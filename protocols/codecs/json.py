"""Telemetry as JSON: flat, with a time stamp, as a list of both, with quality and unit.

{"temperature": 21.5}
{"ts": 1763600000000, "values": {"temperature": {"value": 21.5, "quality": "uncertain", "unit": "°C"}}}
"""

import re
from datetime import UTC, datetime, timedelta

from protocols.codecs.gate import parse_json
from protocols.errors import InvalidShapeError, InvalidTimestampError, TooManyValuesError
from protocols.types import Sample
from telemetry.qualities import QUALITY_BY_NAME

MAX_UNIT_LENGTH = 24
MAX_VALUES = 10_000
_SCALARS = frozenset({bool, float, str, type(None)})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
_HAS_DATE_AND_TIME = re.compile(r"\d{4}-?\d{2}-?\d{2}[T ]")


def decode_telemetry(payload: bytes, *, max_bytes: int) -> list[Sample]:
    """Decode one frame.

    Raises:
        MessageError: a subclass that names what is wrong; nothing of the frame is usable then.
    """
    return read_telemetry(parse_json(payload, max_bytes=max_bytes))


def read_telemetry(document: object) -> list[Sample]:
    """Read a document that has passed the gate: one message or a list of messages."""
    samples: list[Sample] = []
    if not isinstance(document, list):
        samples = _read_message(document)
        check_count(samples)
    else:
        for message in document:
            samples += _read_message(message)
            check_count(samples)
    if not samples:
        raise InvalidShapeError('The message holds no value; send at least one, such as {"temperature": 21.5}.')
    return samples


def check_count(samples: list[Sample]) -> None:
    """Refuse more values than one message may hold, in whatever format."""
    if len(samples) > MAX_VALUES:
        raise TooManyValuesError(f"The message holds more than {MAX_VALUES} values; send them in several messages.")


def read_timestamp(raw: object) -> datetime:
    """Read ms since 1970 or ISO 8601 with an offset, as UTC.

    Raises:
        InvalidTimestampError: it is neither.
    """
    if type(raw) is int or type(raw) is float:
        if 0 <= raw <= _LAST_MS:
            return _EPOCH + timedelta(milliseconds=raw)
    elif isinstance(raw, str) and _HAS_DATE_AND_TIME.match(raw):
        try:
            moment = datetime.fromisoformat(raw)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidTimestampError(
        f"The time stamp {str(raw)[:40]!r} is not valid; send milliseconds since 1970 or ISO 8601 with an offset, "
        'such as "2026-01-31T08:00:00Z".'
    )


def _read_message(message: object) -> list[Sample]:
    if not isinstance(message, dict):
        raise InvalidShapeError('A message is an object, such as {"temperature": 21.5}, or a list of objects.')
    if "ts" not in message and "values" not in message:
        return _read_values(message, None)
    values = message.get("values")
    if not isinstance(values, dict) or not message.keys() <= {"ts", "values"}:
        raise InvalidShapeError('Put the values under "values" next to "ts": {"ts": 1763600000000, "values": {"temperature": 21.5}}.')
    ts = read_timestamp(message["ts"]) if "ts" in message else None
    return _read_values(values, ts)


def _read_values(values: dict[str, object], ts: datetime | None) -> list[Sample]:
    return [
        Sample(metric, raw, ts) if type(raw) is float else _read_value(metric, raw, ts)  # nearly all are fractions
        for metric, raw in values.items()
    ]


def _read_value(metric: str, raw: object, ts: datetime | None) -> Sample:
    if isinstance(raw, dict):
        if "value" not in raw or not raw.keys() <= {"value", "quality", "unit"}:
            raise InvalidShapeError(f'The object of {metric[:64]!r} must have "value", and may have "quality" and "unit"; nothing else.')
        return Sample(metric, _read_scalar(metric, raw["value"]), ts, _read_quality(metric, raw), _read_unit(metric, raw))
    return Sample(metric, _read_scalar(metric, raw), ts)


def _read_scalar(metric: str, raw: object) -> bool | float | str | None:
    if type(raw) in _SCALARS:
        return raw  # type: ignore[return-value]  # as just checked; isinstance with a union takes ten times as long
    if isinstance(raw, int):
        return float(raw)
    raise InvalidShapeError(f"The value of {metric[:64]!r} must be a number, true, false or a text.")


def _read_quality(metric: str, raw: dict[str, object]) -> int:
    quality = raw.get("quality", "good")
    if not isinstance(quality, str) or quality not in QUALITY_BY_NAME:
        raise InvalidShapeError(f"The quality of {metric[:64]!r} must be one of {', '.join(QUALITY_BY_NAME)}.")
    return QUALITY_BY_NAME[quality]


def _read_unit(metric: str, raw: dict[str, object]) -> str:
    unit = raw.get("unit", "")
    if not isinstance(unit, str) or len(unit) > MAX_UNIT_LENGTH:
        raise InvalidShapeError(f"The unit of {metric[:64]!r} must be a text of at most {MAX_UNIT_LENGTH} characters.")
    return unit
