"""One message on its way through the pipeline."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a broker may send the same message again: the consumer's session, the packet id, its DUP flag."""

    consumer: str
    count: int
    packet_id: int
    is_redelivery: bool


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A frame as a listener took it from its socket; who sent it has been proven by then."""

    tenant: str
    device: str
    payload: bytes
    received_at: datetime
    protocol: str
    source: str
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded value. `ts` is None where the device sent none; `quality` is 0 good, 1 uncertain, 2 bad."""

    metric: str
    value: bool | float | str
    ts: datetime | None
    quality: int


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What became of one message: counts of readings, and why the rest was refused."""

    stored: int
    duplicates: int
    rejected: int
    reasons: tuple[str, ...] = ()
