"""Over which protocol the platform reaches a device by itself, and waking whoever speaks it.

Whatever goes to devices uses this: commands and desired state. Who sends wakes on
`pg_notify(COMMANDS_CHANNEL, "<schema> <device key>")` and asks the timers of its kind, so that a hundred idle tenants cost one query.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import connection
from django.db.models import Case, F, Min, Q, QuerySet, When

from devices.models import Device, DeviceCredential, Protocol
from devices.selectors import list_valid_credentials
from iiot_site.lib.schemas import current_schema
from tenants.timers import set_timer

Cargo = Literal["commands", "state"]

COMMANDS_CHANNEL = "iiot_commands"
# Protocols over which the platform can reach a device by itself. Over HTTP the device asks.
PUSHING_PROTOCOLS = ("mqtt", "amqp", "coap", "opcua")
# Protocols over which the platform reads devices and has no way to bring this to them; over OPC UA commands write nodes.
_NOT_CARRIED_OVER: dict[Cargo, dict[str, str]] = {
    "commands": {Protocol.MODBUS: "The platform only reads devices over Modbus: nothing carries commands to this one."},
    "state": {
        Protocol.MODBUS: "The platform only reads devices over Modbus: nothing carries a desired state to this one.",
        Protocol.OPCUA: "Nothing carries a desired state to a device behind an OPC UA server. Commands can write its mapped nodes.",
    },
}
# With what a device that was heard over one of these may still ask itself, over HTTP or CoAP.
ASKING_CREDENTIALS = (DeviceCredential.Kind.TOKEN, DeviceCredential.Kind.OSCORE)
# As long as what somebody has claimed is nobody else's to send.
CLAIM_LEASE = timedelta(seconds=30)
# How often to look whether a device has been heard that may come over any protocol.
UNHEARD_WAIT = timedelta(seconds=30)


def timer_kind(protocol: str) -> str:
    """Return the kind of the timers that say when a protocol has something to send."""
    return f"commands-{protocol}"


def declared_protocol() -> Case:
    """Return an expression for what is said of the protocol of a row's `device`, by itself or by its type."""
    return Case(When(device__protocol="", then=F("device__device_type__protocol")), default=F("device__protocol"))


def sending_protocol() -> Case:
    """Return an expression for the protocol over which a row goes to its `device`: the declared one, else a found out one."""
    return Case(
        When(device__protocol=Protocol.AUTO, then=_found_protocol()),
        When(device__protocol="", device__device_type__protocol=Protocol.AUTO, then=_found_protocol()),
        default=declared_protocol(),
    )


def _found_protocol() -> Case:
    """Return an expression for where the device was heard last, if it can be reached there, else for how its first message came."""
    return Case(
        When(device__last_seen_via__in=PUSHING_PROTOCOLS, then=F("device__last_seen_via")),
        When(~Q(device__detected_protocol=""), then=F("device__detected_protocol")),
        default=F("device__last_seen_via"),
    )


def next_offer_over(waiting: QuerySet[Any], *, protocol: str, now: datetime) -> datetime | None:
    """Return the earliest `offer_at` of rows that go over a protocol; None where there is none."""
    waiting = waiting.filter(device__is_enabled=True).alias(via=sending_protocol())
    due_at: datetime | None = waiting.filter(via=protocol).aggregate(due_at=Min("offer_at"))["due_at"]
    # A device of which the protocol is found out by its messages may come to this one.
    undecided = waiting.alias(declared=declared_protocol()).filter(declared=Protocol.AUTO)
    if (due_at is None or due_at > now + UNHEARD_WAIT) and undecided.exclude(via=protocol).exists():
        return now + UNHEARD_WAIT
    return due_at


def protocol_to(device: Device) -> str:
    """Return the protocol over which things go to a device, as `sending_protocol` says; "" where it is not known yet."""
    declared = device.protocol or device.device_type.protocol
    if declared != Protocol.AUTO:
        return declared
    return device.last_seen_via if device.last_seen_via in PUSHING_PROTOCOLS else device.detected_protocol or device.last_seen_via


def explain_unreachable(device: Device, now: datetime, *, cargo: Cargo = "commands") -> str:
    """Say why nothing can carry commands or a desired state to a device; "" where something can, or may yet."""
    obstacle = _NOT_CARRIED_OVER[cargo].get(protocol_to(device), "")
    is_found_out = (device.protocol or device.device_type.protocol) == Protocol.AUTO
    if obstacle and is_found_out and list_valid_credentials(device, now).filter(kind__in=ASKING_CREDENTIALS).exists():
        return ""
    return obstacle


def is_reached_over(protocol: str, *, device_id: int) -> bool:
    """Tell whether the platform reaches a device over a protocol now."""
    return list_reached_over(protocol, device_ids=[device_id]).exists()


def list_reached_over(protocol: str, *, device_ids: Collection[int]) -> QuerySet[Device]:
    """Return which of these devices the platform reaches over a protocol now."""
    declares = Q(protocol=protocol) | Q(protocol="", device_type__protocol=protocol)
    is_auto = Q(protocol=Protocol.AUTO) | Q(protocol="", device_type__protocol=Protocol.AUTO)
    was_heard = Q(last_seen_via=protocol) | (Q(detected_protocol=protocol) & ~Q(last_seen_via__in=PUSHING_PROTOCOLS))
    return Device.objects.filter(declares | (is_auto & was_heard), pk__in=device_ids, is_enabled=True)


def wake_protocol(protocol: str, *, schema: str, now: datetime) -> None:
    """Tell whoever speaks a protocol that there is something to send in a tenant."""
    set_timer(schema=schema, kind=timer_kind(protocol), due_at=now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [COMMANDS_CHANNEL, schema])


def wake_senders(device: Device, now: datetime) -> None:
    """Tell those who may reach the device; its own protocol, or all where that is not known yet."""
    declared = device.protocol or device.device_type.protocol
    protocols: Sequence[str] = PUSHING_PROTOCOLS if declared == Protocol.AUTO else [declared]
    schema = current_schema()
    for protocol in protocols:
        if protocol in PUSHING_PROTOCOLS:
            set_timer(schema=schema, kind=timer_kind(protocol), due_at=now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [COMMANDS_CHANNEL, f"{schema} {device.key}"])
