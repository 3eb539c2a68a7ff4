"""What a listener gets to know of a tenant's OPC UA servers, and what it tells about them: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

NO_SECURITY = "none"


@dataclass(frozen=True, slots=True)
class OpcUaNodeSpec:
    """A node, and the device and metric that get its values: `raw * scale + offset`. `deadband` is absolute, of the raw value."""

    mapping_id: int
    node_id: str
    device: str
    metric: str
    scale: float = 1.0
    offset: float = 0.0
    deadband: float | None = None


@dataclass(frozen=True, slots=True)
class OpcUaCommandNode:
    """The node that a command writes: `(value - offset) / scale`."""

    server_id: int
    node_id: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class OpcUaTarget:
    """A server to read. Two that are equal are read alike, so that a change shows by comparing. Its text shows no password.

    `fault` says why it cannot be read at all, "" where nothing is wrong on our side.
    """

    server_id: int
    name: str
    endpoint_url: str
    security: str = "Basic256Sha256"
    authentication: str = "anonymous"
    username: str = ""
    password: str = field(default="", repr=False)
    trusted_certificate: bytes = field(default=b"", repr=False)
    publishing_seconds: float = 0.5
    sampling_seconds: float | None = None
    nodes: tuple[OpcUaNodeSpec, ...] = field(default=(), repr=False)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class OpcUaReport:
    """How a server does. `problems` are by mapping; `offered_certificate` is one that nobody has accepted yet."""

    server_id: int
    state: str
    error: str
    item_count: int
    heard_at: datetime | None
    offered_certificate: bytes = b""
    problems: Mapping[int, str] = field(default_factory=dict)
