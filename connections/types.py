"""What a listener gets to know of a tenant's connections: plain values."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RegisterSpec:
    """One value in a Modbus device: where it lies, how it is written there, what it is called here.

    `address` counts from 0. `width` is how many registers or coils it takes. A number becomes `raw * scale + offset`.
    """

    metric: str
    table: str
    address: int
    width: int
    data_type: str
    is_little_word_order: bool = False
    swaps_bytes: bool = False
    scale: float = 1.0
    offset: float = 0.0
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class ModbusTarget:
    """A device to poll. Two that are equal are polled alike, so that a change shows by comparing.

    `obstacle` says in words why it cannot be polled, "" where it can.
    """

    connection_id: int
    device: str
    host: str
    port: int
    unit_id: int
    interval_seconds: float
    timeout_seconds: float
    registers: tuple[RegisterSpec, ...]
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """How a connection does. `error` is "" while all is well; `answered_at` is when it last gave a value."""

    connection_id: int
    state: str
    error: str
    answered_at: datetime | None
