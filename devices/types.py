"""What other apps get to know about devices and metrics: plain values, safe to cache."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from devices.oscore_keys import OscoreKeys


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """A device as the pipeline needs it. `sole_metric` is what a value without a name means: the type's only metric, or "value".

    `awaits_…` say that the protocol or the format is to be detected and has not been yet.
    """

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
    gateway_key: str = ""
    detected_codec: str = ""
    awaits_protocol: bool = False
    awaits_codec: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """What the first valid message of a device (by small id) said of how it speaks; `codec` is "" where it said nothing."""

    device_id: int
    protocol: str
    codec: str


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
    """A credential just made. `secret` and `oscore` (hex values by name) cannot be read again; a certificate has no secret."""

    credential_id: UUID
    kind: str
    username: str
    secret: str
    expires_at: datetime | None = None
    fingerprint: str = ""
    oscore: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """With what somebody logs in at a broker."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class OscoreCredential:
    """The keys that a device of the current tenant speaks CoAP with; the platform's own id is `keys.server_id`."""

    credential_id: UUID
    device_key: str
    keys: OscoreKeys


@dataclass(frozen=True, slots=True)
class CommandRef:
    """A command as a protocol sends it. `attempt` counts from 1; the id stays the same when it is sent again."""

    id: UUID
    device_key: str
    name: str
    payload: Any
    expires_at: datetime
    attempt: int


@dataclass(frozen=True, slots=True)
class StateRef:
    """A device's desired state as a protocol sends it; `delta` is what the device has not reported yet. `attempt` counts from 1.

    `offer_at` is the end of the lease under which it was taken: whoever offers it anew meanwhile wins.
    """

    device_id: int
    device_key: str
    version: int
    desired: Mapping[str, Any]
    delta: Mapping[str, Any]
    offer_at: datetime | None
    attempt: int = 1
