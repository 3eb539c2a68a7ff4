"""Queues the commands that clients of our OPC UA server write, with the rights of the API key that they logged in with."""

from typing import Any

from asyncua.ua.status_codes import StatusCodes
from django.utils import timezone
from django_tenants.utils import schema_context

from devices.command_services import queue_command
from devices.errors import CommandConflictError, CommandRefusedError
from devices.models import Device
from protocols.opcua.command_nodes import CommandInput
from protocols.opcua.plant_reading import TenantUser, find_ended_keys

NEEDED_PERMISSION = "command:write"


def queue_written(*, user: TenantUser, command: CommandInput, payload: Any) -> int:
    """Queue a command and return the status code that its client gets. Asks for the key's rights as they are now; fails closed."""
    if not user.key_id or find_ended_keys([user.key_id], permission=NEEDED_PERMISSION):
        return StatusCodes.BadUserAccessDenied
    with schema_context(user.schema):
        device = Device.objects.filter(key=command.device).first()
        if device is None:
            return StatusCodes.BadNodeIdUnknown
        try:
            queue_command(device=device, name=command.name, payload=payload, author=user.name or "", now=timezone.now())
        except CommandRefusedError:
            return StatusCodes.BadOutOfRange
        except CommandConflictError:
            return StatusCodes.BadInvalidState
    return StatusCodes.Good
