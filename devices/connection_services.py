"""What devices say of their connection, and what they get when they come back."""

from datetime import datetime

from django.db.models import Q

from devices.command_services import offer_again
from devices.models import Device
from devices.state_services import offer_state_again


def record_connection(*, device: Device, is_online: bool, now: datetime) -> None:
    """Note what a device says of its connection, or its last will says for it; one that comes back gets what waits for it.

    What was received before the last such word changes nothing.
    """
    state = Device.Connection.ONLINE if is_online else Device.Connection.OFFLINE
    is_newest = Q(connection_since=None) | Q(connection_since__lte=now)
    Device.objects.filter(is_newest, pk=device.pk).exclude(connection=state).update(connection=state, connection_since=now)
    if is_online:
        offer_again(device=device, now=now)
        offer_state_again(device=device, now=now)
