"""What devices say of their connection, and what they get when they come back."""

from datetime import datetime

from devices.command_services import offer_again
from devices.models import Device
from devices.state_services import offer_state_again


def record_connection(*, device: Device, is_online: bool, now: datetime) -> None:
    """Note what a device says of its connection, or its last will says for it; one that comes back gets what waits for it."""
    state = Device.Connection.ONLINE if is_online else Device.Connection.OFFLINE
    Device.objects.filter(pk=device.pk).exclude(connection=state).update(connection=state, connection_since=now)
    if is_online:
        offer_again(device=device, now=now)
        offer_state_again(device=device, now=now)
