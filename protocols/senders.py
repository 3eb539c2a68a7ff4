"""Who may send what: the same faults for readings and for all else that devices say. Pure."""

from protocols.types import RawMessage

Fault = tuple[str, str]


def unknown_device(message: RawMessage) -> Fault:
    """Return reason and detail where there is no such device."""
    return "unknown_device", f"There is no device {message.device[:64]!r}; check the name, or create it."


def find_sender_fault(message: RawMessage, *, gateway_key: str, is_enabled: bool) -> Fault | None:
    """Return reason and detail where a known device may not send, or another may not send for it."""
    if message.via and message.via != gateway_key:
        return "other_device", f"{message.via[:64]!r} sent for {message.device!r}, which is not connected via it; set its gateway to it."
    if not is_enabled:
        return "device_disabled", "The device is switched off in the platform; enable it there."
    return None
