"""What devices say of their connection, and what they get when they come back."""

from datetime import datetime

from devices.command_services import offer_again
from devices.models import Device


def record_connection(*, device: Device, is_online: bool, now: datetime) -> None:
    """Note what a device says of its connection, or its last will says for it; one that comes back gets its commands."""
    state = Device.Connection.ONLINE if is_online else Device.Connection.OFFLINE
    Device.objects.filter(pk=device.pk).exclude(connection=state).update(connection=state, connection_since=now)
    if is_online:
        offer_again(device=device, now=now)
