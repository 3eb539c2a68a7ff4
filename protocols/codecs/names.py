"""Which metric a name on the wire means, where the name may carry the device in front: `urn:dev:ow:<device>:temperature`."""

from protocols.errors import OtherDeviceError

SEPARATORS = ":/._-"


def metric_of(name: str, *, base: str, device: str, sole_metric: str) -> str:
    """Return the metric that a SenML name (RFC 8428 §4.5.1, with its base name `base` in front) means on `device`.

    A base name, and a URN, name a device: the sender's own is cut off, any other is refused. A plain name is the metric.
    With no sender known (`device` is empty) the whole name is the metric.

    Raises:
        OtherDeviceError: the record names another device.
    """
    if not device:
        return name or sole_metric
    start = name.rfind(f":{device}") + 1 if name.startswith("urn:") else 0
    rest = name[start:].removeprefix(device)
    if name[start:].startswith(device) and (not rest or rest[0] in SEPARATORS):
        return rest.lstrip(SEPARATORS) or sole_metric
    if base or name.startswith("urn:"):
        raise OtherDeviceError(f"The record {name[:80]!r} names another device than {device!r}, which sent it; a device sends for itself.")
    return name or sole_metric
