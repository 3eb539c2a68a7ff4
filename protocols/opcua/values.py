"""Turns an OPC UA value with its status into telemetry. Pure.

Source: OPC 10000-4 §7.11 (DataValue) and §7.39 (StatusCode); OPC 10000-8 §6.3 (what the codes say about a measurement);
OPC 10000-6 §5.1.4 (DateTime: 100 ns since 1601, 0 stands for none).

A value is refused by the platform's one gate, as on every other protocol: what cannot be telemetry (arrays, structures,
byte strings) goes there as a list, NaN as NaN, and comes back as an entry in the ledger with its reason.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from uuid import UUID

from asyncua import ua

from telemetry.qualities import BAD, QUALITY_NAMES

PLAIN_TEXT_LENGTH = 1024
VALUES_PER_MESSAGE = 200
_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_NUMBERS = frozenset(
    getattr(ua.VariantType, name) for name in ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double")
)

Scalar = bool | float | str


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is made of a number: `raw * scale + offset`."""

    scale: float = 1.0
    offset: float = 0.0

    def apply(self, raw: float) -> float:
        """Return the value in the metric's unit; whole numbers stay whole where nothing is scaled."""
        return raw if self.scale == 1.0 and self.offset == 0.0 else raw * self.scale + self.offset


@dataclass(frozen=True, slots=True)
class LastValue:
    """The last value of a node that had one, and the time of what was sent last."""

    value: Scalar | None
    ts: datetime | None


@dataclass(frozen=True, slots=True)
class NodeValue:
    """One value on its way: `value` is what JSON says of it, or a list that explains why it is none."""

    metric: str
    value: Scalar | list[str] | None
    ts: datetime | None
    quality: int

    @property
    def is_plain(self) -> bool:
        """Whether it may share a message: what could be refused goes alone, so that nothing else is refused with it."""
        if isinstance(self.value, str):
            return len(self.value) <= PLAIN_TEXT_LENGTH and self.value.isprintable()
        return isinstance(self.value, bool) or (isinstance(self.value, int | float) and _is_finite(self.value))


def quality_of(status: ua.StatusCode | None) -> int:
    """Return 0 good, 1 uncertain, 2 bad: the two highest bits of the code; none is good (OPC 10000-6 §5.2.2.17)."""
    return 0 if status is None else min(int(status.value) >> 30, BAD)


def has_overflowed(status: ua.StatusCode | None) -> bool:
    """Tell whether the server's queue dropped values before this one: InfoType DataValue with the Overflow bit."""
    return status is not None and int(status.value) & 0x480 == 0x480


def read_data_value(data: ua.DataValue, *, metric: str, scaling: Scaling, last: LastValue, received_at: datetime) -> NodeValue:
    """Read what a server said about a node.

    A bad status mostly comes without a value: the last one is repeated with quality bad, so that the loss is in the
    history; without any it is none, which the ledger shows. Where its time is not later than what was sent before, the
    server's time or that of receipt is taken: else it would count as a repetition.
    """
    quality = quality_of(data.StatusCode)
    value = _read_variant(data.Value, scaling)
    ts = _real_time(data.SourceTimestamp) or _real_time(data.ServerTimestamp)
    if quality == BAD and (value is None or (isinstance(value, float) and not isfinite(value))):
        value = last.value
        if ts is None or (last.ts is not None and ts <= last.ts):
            ts = _later_time(_real_time(data.ServerTimestamp), last.ts) or max(received_at, (last.ts or received_at) + _TICK)
    return NodeValue(metric, value, ts, quality)


def encode_values(values: Sequence[NodeValue], *, max_bytes: int) -> list[bytes]:
    """Return the messages that carry these values of one device, in the platform's JSON (see `codecs.json`)."""
    plain = [value for value in values if value.is_plain]
    odd = [value for value in values if not value.is_plain]
    groups = [plain[start : start + VALUES_PER_MESSAGE] for start in range(0, len(plain), VALUES_PER_MESSAGE)]
    return [json.dumps([_as_message(value, max_bytes) for value in group]).encode() for group in (*groups, *([value] for value in odd))]


def remember(value: NodeValue, last: LastValue) -> LastValue:
    """Return what to keep of a value for when the next one is bad."""
    known = value.value if value.is_plain and value.quality != BAD and not isinstance(value.value, list) else last.value
    return LastValue(known, value.ts or last.ts)


def _as_message(value: NodeValue, max_bytes: int) -> dict[str, Any]:
    # One character beyond what may come is enough to be refused as too large.
    shown = value.value[: max_bytes + 1] if isinstance(value.value, str) else value.value
    message: dict[str, Any] = {"values": {value.metric: {"value": shown, "quality": QUALITY_NAMES[value.quality]}}}
    return message if value.ts is None else {"ts": value.ts.isoformat(), **message}


def _read_variant(variant: ua.Variant | None, scaling: Scaling) -> Scalar | list[str] | None:
    if variant is None or variant.Value is None:
        return None
    raw, kind = variant.Value, variant.VariantType
    if variant.is_array or isinstance(raw, list | tuple):
        return [f"array of {_kind_name(kind)}"]
    if kind == ua.VariantType.Boolean:
        return bool(raw)
    if kind in _NUMBERS and isinstance(raw, int | float):
        return scaling.apply(raw)
    text = _read_text(raw)
    return [_kind_name(kind)] if text is None else text


def _read_text(raw: object) -> str | None:
    """Return what can be written as text; None for structures and bytes."""
    text: object = None
    match raw:
        case str() | UUID():
            text = raw
        case ua.LocalizedText():
            text = raw.Text or ""
        case ua.QualifiedName() | ua.NodeId():
            text = raw.to_string()
        case ua.StatusCode():
            text = raw.name
        case datetime():
            text = _in_utc(raw).isoformat()
    return None if text is None else str(text)


def _kind_name(kind: object) -> str:
    return str(getattr(kind, "name", kind))[:60]


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:
        return False


def _real_time(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    moment = _in_utc(moment)
    return moment if moment > _NO_TIME else None


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _later_time(moment: datetime | None, than: datetime | None) -> datetime | None:
    return moment if moment is not None and (than is None or moment > than) else None
