"""Remembers how devices speak of which nobody said it: protocol and codec of the first message of which something was stored.

Nothing is written for devices of which both are known, and one statement per batch for all others in it.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from devices.detection_services import record_detections
from devices.types import Detection, DeviceRef
from protocols.resolution import forget_device

# We ask these devices ourselves, and write what they answer as JSON: that says nothing of their own format.
_READ_BY_US = ("opcua", "modbus")


def detect(device: DeviceRef, *, protocol: str, codec: str) -> Detection | None:
    """Return what a message says of its device that was not known; None where it says nothing new."""
    said = "" if protocol in _READ_BY_US else codec
    is_new = device.awaits_protocol or (device.awaits_codec and said)
    return Detection(device.id, protocol, said) if is_new else None


def remember_detections(schema: str, detected: Mapping[int, Detection], *, now: datetime) -> None:
    """Write down what was detected, inside the caller's transaction."""
    if not detected:
        return
    keys = record_detections(detections=list(detected.values()), now=now)

    def forget() -> None:
        for key in keys:
            forget_device(schema, key)

    transaction.on_commit(forget)
