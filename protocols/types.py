"""One message on its way through the pipeline. What is made for every message is a msgspec struct: a tenth of a dataclass's time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from devices.types import DeviceRef, MetricRef

UNKNOWN_TENANT = "unknown_tenant"  # the reason of a refusal
# What a message may be besides readings; see `protocols.control_messages`.
RESPONSE, STATUS, REPORTED, STATE_GET = "response", "status", "reported", "state_get"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """How a broker may send the same message again: the consumer's session, the packet id, its DUP flag.

    `is_retry`: we try its batch again, whatever the broker says. Without `is_numbered` the packet id is new with every
    delivery, and a copy is known by its `message_id`, or by what it says (see `protocols.unnumbered_deliveries`).
    `lifetime_seconds`: a sender uses a number again after that; 0 where only the count of deliveries says when.
    """

    consumer: str
    count: int
    packet_id: int
    is_redelivery: bool
    is_retry: bool = False
    is_numbered: bool = True
    message_id: str = ""
    lifetime_seconds: float = 0.0


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """A frame as a listener took it from its socket; who sent it has been proven by then.

    `via` is the key of the device that sent for this one, its gateway; "" where it sent for itself. `codec` is set where
    the transport names the format, as a content type does; else the device type's codec counts.
    `channel` is "" for readings; `protocols.control_messages` says what else a device may say. `response/<id>` is an answer
    to the command that the transport names.
    """

    tenant: str
    device: str
    payload: bytes
    received_at: datetime
    protocol: str
    source: str
    delivery: Delivery | None = None
    codec: str = ""
    via: str = ""
    channel: str = ""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One decoded value; None where the device says that it has none.

    `ts` is None where the device sent no time; `quality` is 0 good, 1 uncertain, 2 bad; `unit` is "" where none came.
    `counts_from_receipt` says that `ts` was reckoned from the time of receipt: the same frame sent again gets another.
    """

    metric: str
    value: bool | float | str | None
    ts: datetime | None
    quality: int = 0
    unit: str = ""
    counts_from_receipt: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one value, or a message as a whole (`metric` is None), was not stored. `index` is the message's place in the batch."""

    index: int
    reason: str
    detail: str
    metric: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValue(Refusal):
    """A null: nothing to store by itself, see `protocols.unknown_values`. `known` is None where the type has no such metric."""

    device: DeviceRef
    known: MetricRef | None
    ts: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch: `stored` and `duplicates` count readings, each refusal is one value or one whole message.

    `refused` are the indexes of messages of which nothing was accepted. `held` counts messages that are committed, but
    not stored yet: see `protocols.held_messages`.
    """

    stored: int
    duplicates: int
    refusals: Sequence[Refusal]
    refused: frozenset[int] = frozenset()
    held: int = 0
