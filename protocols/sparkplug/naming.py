"""Puts names where a Sparkplug message has aliases, so that the rest of the platform reads each frame by itself. Pure.

Source: Sparkplug 3.0.0 §6.4.6 (aliases are unique over an edge node and all its devices), §6.4.2.2 (sequence numbers count
from 0 with the NBIRTH to 255 and start over; after a gap the host asks for a rebirth, §6.4.25).
"""

from dataclasses import dataclass, field
from typing import Any

from protocols.codecs.json import MAX_VALUES
from protocols.sparkplug.messages import Payload, parse_payload
from protocols.sparkplug.topics import BIRTHS, DATA, SparkplugAddress

# What a node may have named at most. Without a bound one node could fill the memory of the listener that all share; a
# name that is longer than a metric's key is refused with the birth, so nothing is lost by forgetting it.
MAX_ALIASES = 10_000
MAX_NAME_CHARS = 64
BIRTH_SEQ = "bdSeq"


@dataclass(slots=True)
class NodeState:
    """An edge node since its last birth: its aliases, the last sequence number and the birth's own, None where not known."""

    aliases: dict[int, str] = field(default_factory=dict)
    seq: int | None = None
    birth_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A frame with names. `asks_for_birth`: the node has to say again what it has; `has_new_aliases`: it just did."""

    payload: bytes
    asks_for_birth: bool
    has_new_aliases: bool


def put_names(state: NodeState, address: SparkplugAddress, frame: bytes, *, is_repeated: bool, max_bytes: int) -> Named:
    """Return the frame with the names that are known, and take over into `state` what it says.

    What cannot be read, or is larger than the codec takes, is returned as it is: the codec says what is wrong with it.
    """
    payload = parse_payload(frame, max_bytes=max_bytes) if len(frame) <= max_bytes else None
    if payload is None or len(payload.metrics) > MAX_VALUES:
        return Named(frame, asks_for_birth=False, has_new_aliases=False)
    is_birth = address.kind in BIRTHS
    if address.kind == "NBIRTH" and not is_repeated:
        state.aliases.clear()
        state.seq = None
        state.birth_seq = _read_birth_seq(payload)
    if is_birth:
        for metric in payload.metrics:
            is_named = metric.HasField("alias") and 0 < len(metric.name) <= MAX_NAME_CHARS and "\0" not in metric.name
            if is_named and (metric.alias in state.aliases or len(state.aliases) < MAX_ALIASES):
                state.aliases[metric.alias] = metric.name
    is_in_order = True
    if payload.HasField("seq") and not is_repeated:
        is_in_order = state.seq is None or payload.seq == (state.seq + 1) % 256
        state.seq = int(payload.seq)
    is_changed = is_unknown = False
    for metric in payload.metrics:
        if not metric.name and metric.HasField("alias"):
            metric.name = state.aliases.get(metric.alias, "")
            is_changed = is_changed or bool(metric.name)
            is_unknown = is_unknown or not metric.name
    asks = address.kind in DATA and (is_unknown or not is_in_order)
    return Named(payload.SerializeToString() if is_changed else frame, asks, is_birth)


def is_over(state: NodeState, address: SparkplugAddress, frame: bytes, *, max_bytes: int) -> bool:
    """Return whether a death ends what is: the will of an earlier session may arrive after the birth of the next (§6.4.19)."""
    if address.kind != "NDEATH":
        return True
    payload = parse_payload(frame, max_bytes=max_bytes)
    birth_seq = None if payload is None else _read_birth_seq(payload)
    return birth_seq is None or state.birth_seq is None or birth_seq == state.birth_seq


def _read_birth_seq(payload: Any) -> int | None:
    for metric in payload.metrics:
        if metric.name == BIRTH_SEQ and metric.WhichOneof("value") in {"int_value", "long_value"}:
            return int(getattr(metric, metric.WhichOneof("value")))
    return None


def rebirth_command() -> bytes:
    """Return the payload of an NCMD that asks a node for its births."""
    payload = Payload()
    payload.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    return bytes(payload.SerializeToString())
