"""What devices say of their connection, and what they get when they come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from devices.command_services import list_waiting_ids, offer_again
from devices.models import Device
from devices.state_services import list_behind_ids, offer_state_again

# Rows are locked in the order of their ids, as in `devices.services`.
_RECORD_SQL = """
WITH due AS (
    SELECT d.id, s.state, s.at
    FROM unnest(%(ids)s::integer[], %(states)s::text[], %(moments)s::timestamptz[]) AS s(id, state, at)
    JOIN devices_device d ON d.id = s.id
    WHERE d.connection <> s.state AND (d.connection_since IS NULL OR d.connection_since <= s.at)
    ORDER BY d.id
    FOR NO KEY UPDATE OF d
)
UPDATE devices_device d SET connection = due.state, connection_since = due.at FROM due WHERE d.id = due.id
"""


@dataclass(frozen=True, slots=True)
class ConnectionWord:
    """What a device says of its connection, or its last will says for it."""

    device: Device
    is_online: bool
    at: datetime


def record_connections(*, words: Sequence[ConnectionWord]) -> None:
    """Note what devices say, one word of each; those that come back get what waits for them. Twice is as once.

    What was received before the last such word of a device changes nothing.
    """
    states = [Device.Connection.ONLINE if word.is_online else Device.Connection.OFFLINE for word in words]
    with connection.cursor() as cursor:
        cursor.execute(_RECORD_SQL, {"ids": [word.device.pk for word in words], "states": states, "moments": [word.at for word in words]})
    back = {word.device.pk: word for word in words if word.is_online}
    for device_id in list_waiting_ids(device_ids=back):
        offer_again(device=back[device_id].device, now=back[device_id].at)
    for device_id in list_behind_ids(device_ids=back):
        offer_state_again(device=back[device_id].device, now=back[device_id].at)
