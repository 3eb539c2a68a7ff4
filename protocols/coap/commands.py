"""`/c`: what a device shall do: all commands that wait for an answer, the oldest first. Being told of them makes them `sent`."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from devices.command_services import list_open_commands, mark_sent
from devices.types import CommandRef
from iiot_site.lib.times import format_time
from protocols.coap.desk import Matter
from protocols.coap.gate import Sender


def load_commands(sender: Sender) -> Sequence[CommandRef] | None:
    """Return what the device has to do."""
    return list_open_commands(device_id=sender.device.id, now=timezone.now()) or None


def describe(commands: Sequence[CommandRef] | None) -> dict[str, Any]:
    """Return commands as devices get them. Without the number of the attempt: it would make the same list another one."""
    return {
        "commands": [
            {"id": str(command.id), "name": command.name, "payload": command.payload, "expires_at": format_time(command.expires_at)}
            for command in commands or ()
        ]
    }


def note_sent(commands: Sequence[CommandRef]) -> None:
    """Write down that the device has these commands."""
    mark_sent(command_ids=[command.id for command in commands], now=timezone.now())


COMMANDS = Matter(name="commands", load=load_commands, describe=describe, note=note_sent)
