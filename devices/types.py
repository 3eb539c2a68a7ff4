"""What other apps get to know about devices and metrics: plain values, safe to cache."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """A device as the pipeline needs it. `sole_metric` is what a value without a name means: the type's only metric, or "value"."""

    id: int
    uuid: UUID
    key: str
    name: str
    device_type_id: int
    site_id: UUID | None
    registers_unknown_metrics: bool
    is_enabled: bool
    codec: str = "auto"
    line_precision: str = "ns"
    sole_metric: str = "value"


@dataclass(frozen=True, slots=True)
class MetricRef:
    """A metric as the pipeline needs it. `minimum` and `maximum` bound what is plausible."""

    id: int
    key: str
    unit: str
    data_type: str
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True)
class NewMetric:
    """A metric to register for a device type, its data type taken from the first value."""

    device_type_id: int
    key: str
    data_type: str


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A credential just made. `secret` is not stored and cannot be read again."""

    credential_id: UUID
    kind: str
    username: str
    secret: str
