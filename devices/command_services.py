"""Commands to devices: queued, claimed by whoever speaks the device's protocol, sent until they are answered or expire.

A command is sent at least once, with the same id each time. Who sends, and when it wakes, is in `devices.reaching`.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Min, QuerySet

from devices.command_schema import check_command
from devices.command_states import OPEN_STATES, next_offer_at, transition
from devices.errors import CommandConflictError, CommandRefusedError, UnknownCommandError, UnreachableDeviceError
from devices.models import Command, Device
from devices.reaching import CLAIM_LEASE, explain_unreachable, next_offer_over, sending_protocol, wake_senders
from devices.types import CommandRef
from iiot_site.lib.live import push_frames
from iiot_site.lib.schemas import current_schema
from tenants.models import User
from tenants.timers import set_timer

EXPIRY_TIMER = "command-expiry"
MAX_OPEN_COMMANDS = 100
DEFAULT_LIFETIME, LONGEST_LIFETIME = timedelta(hours=24), timedelta(days=30)


def queue_command(
    *,
    device: Device,
    name: str,
    payload: Any,
    now: datetime,
    lifetime: timedelta = DEFAULT_LIFETIME,
    user: User | None = None,
    author: str = "",
    idempotency_key: str = "",
) -> Command:
    """Queue a command, or return the one that has this idempotency key.

    Raises:
        CommandRefusedError: the device's type does not accept it, or the lifetime is not between nothing and 30 days.
        CommandConflictError: the device is switched off, has 100 open commands, or the key stands for another command.
        UnreachableDeviceError: nothing carries commands to the device.
    """
    if not timedelta(0) < lifetime <= LONGEST_LIFETIME:
        raise CommandRefusedError("A command lives for at most 30 days.", errors={"expires_in_seconds": ["Choose at most 2592000."]})
    with transaction.atomic():
        device = Device.objects.select_for_update(of=("self",), no_key=True).select_related("device_type").get(pk=device.pk)
        check_command(device.device_type.commands, name=name, payload=payload)
        if idempotency_key and (known := device.commands.filter(idempotency_key=idempotency_key).first()):
            if (known.name, known.payload) != (name, payload):
                raise CommandConflictError("This idempotency key was used for another command.")
            return known
        if not device.is_enabled:
            raise CommandConflictError("The device is switched off in the platform; enable it first.")
        if obstacle := explain_unreachable(device, now):
            raise UnreachableDeviceError(obstacle)
        if device.commands.filter(state__in=OPEN_STATES).count() >= MAX_OPEN_COMMANDS:
            raise CommandConflictError(f"The device has {MAX_OPEN_COMMANDS} commands that it has not answered.")
        command = Command.objects.create(
            device=device,
            name=name,
            payload=payload,
            created_by=user,
            created_by_name=author,
            idempotency_key=idempotency_key,
            created_at=now,
            offer_at=now,
            expires_at=now + lifetime,
        )
        set_timer(schema=current_schema(), kind=EXPIRY_TIMER, due_at=command.expires_at)
        wake_senders(device, now)
        _push(command, device)
    return command


def claim_commands(*, protocol: str, now: datetime, limit: int = 100) -> list[CommandRef]:
    """Take commands that are to be sent over a protocol now; whoever takes them says `mark_sent`, or they come again."""
    with transaction.atomic():
        due = _sendable(now).alias(via=sending_protocol()).filter(via=protocol, offer_at__lte=now)
        return _take(due, now, limit)


def claim_commands_of_device(*, device_id: int, now: datetime, limit: int = 20) -> list[CommandRef]:
    """Take the open commands of a device that asks for them, sent before or not: it shall do them now.

    They count as sent; what it does not answer it gets again with its next question.
    """
    with transaction.atomic():
        commands = _take(_sendable(now).filter(device_id=device_id), now, limit)
        mark_sent(command_ids=[command.id for command in commands], now=now)
    return commands


def list_open_commands(*, device_id: int, now: datetime, limit: int = 20) -> list[CommandRef]:
    """Return the oldest commands that a device has not answered, sent or not."""
    return [
        _as_ref(command) for command in _sendable(now).filter(device_id=device_id).select_related("device").order_by("created_at")[:limit]
    ]


def mark_sent(*, command_ids: Collection[UUID], now: datetime) -> None:
    """Note that commands have left for their devices. One that was answered in between stays as it is."""
    with transaction.atomic():
        commands = Command.objects.filter(id__in=command_ids, state__in=OPEN_STATES).select_for_update(of=("self",), no_key=True)
        for command in commands.select_related("device").order_by("id"):
            command.state = transition(command.state, "send")
            command.attempts += 1
            command.sent_at = command.sent_at or now
            command.offer_at = next_offer_at(attempts=command.attempts, now=now)
            command.save(update_fields=["state", "attempts", "sent_at", "offer_at"])
            _push(command, command.device)


def next_send_at(*, protocol: str, now: datetime) -> datetime | None:
    """Return when the next command is to be sent over a protocol; None where there is none."""
    return next_offer_over(Command.objects.filter(state__in=OPEN_STATES), protocol=protocol, now=now)


def list_waiting_ids(*, device_ids: Collection[int]) -> list[int]:
    """Return which of these devices have commands that they have not answered."""
    open_commands = Command.objects.filter(device_id__in=device_ids, state__in=OPEN_STATES) if device_ids else Command.objects.none()
    return sorted(set(open_commands.values_list("device_id", flat=True)))


def offer_again(*, device: Device, now: datetime) -> None:
    """Let what a device has not answered be sent now: it has just come back."""
    with transaction.atomic():
        waiting = Command.objects.filter(device=device, state__in=OPEN_STATES, offer_at__gt=now, expires_at__gt=now)
        if waiting.update(offer_at=now):
            wake_senders(device, now)


def record_response(*, device_key: str, command_id: UUID, is_done: bool, data: Any, error: str = "", now: datetime) -> Command:
    """Note a device's answer. The same answer twice is one.

    Raises:
        UnknownCommandError: the device has no such command.
        IllegalCommandEventError: it has answered otherwise before.
    """
    with transaction.atomic():
        commands = Command.objects.select_for_update(of=("self",), no_key=True).select_related("device")
        command = commands.filter(id=command_id, device__key=device_key).first()
        if command is None:
            raise UnknownCommandError(f"The device {device_key!r} has no command {command_id}.")
        before, command.state = command.state, transition(command.state, "acknowledge" if is_done else "fail")
        if before != command.state:
            command.response, command.error, command.finished_at = data, error[:500], now
            command.save(update_fields=["state", "response", "error", "finished_at"])
            _push(command, command.device)
    return command


def expire_commands(*, now: datetime) -> datetime | None:
    """Give up on commands whose time is over; return when the next one's is."""
    with transaction.atomic():
        over = Command.objects.filter(state__in=OPEN_STATES, expires_at__lte=now).select_for_update(of=("self",), no_key=True)
        for command in over.select_related("device").order_by("id"):
            command.state = transition(command.state, "expire")
            command.finished_at = now
            command.save(update_fields=["state", "finished_at"])
            _push(command, command.device)
    next_at: datetime | None = Command.objects.filter(state__in=OPEN_STATES).aggregate(next_at=Min("expires_at"))["next_at"]
    return next_at


def _sendable(now: datetime) -> QuerySet[Command]:
    return Command.objects.filter(state__in=OPEN_STATES, expires_at__gt=now, device__is_enabled=True)


def _take(commands: QuerySet[Command], now: datetime, limit: int) -> list[CommandRef]:
    locked = commands.select_for_update(of=("self",), no_key=True, skip_locked=True).select_related("device")
    taken = list(locked.order_by("created_at")[:limit])
    Command.objects.filter(id__in=[command.id for command in taken]).update(offer_at=now + CLAIM_LEASE)
    return [_as_ref(command) for command in taken]


def _as_ref(command: Command) -> CommandRef:
    return CommandRef(command.id, command.device.key, command.name, command.payload, command.expires_at, command.attempts + 1)


def _push(command: Command, device: Device) -> None:
    """Tell the pages that show the device; they ask for the rest, with their own rights."""
    schema, topic = current_schema(), f"device:{device.uuid}"
    frame = {"type": "command", "device": str(device.uuid), "id": str(command.id), "state": command.state}
    transaction.on_commit(lambda: push_frames(schema, [(topic, frame)]))
