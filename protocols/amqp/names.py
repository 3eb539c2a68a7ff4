"""Names of the platform's own AMQP conventions, and what a message's keys and headers mean. Pure.

Source: rabbitmq.com/tutorials/amqp-concepts (topic exchanges), /dlx.html (the header x-death).
"""

from functools import lru_cache

import msgspec

from protocols.types import REPORTED, RESPONSE, STATE_GET

TELEMETRY_EXCHANGE = "iiot.telemetry"
TELEMETRY_QUEUE = "iiot.telemetry"
TELEMETRY_BINDINGS = ("*.*.telemetry", "*.*.commands.response", "*.*.state.reported", "*.*.state.get")
DEAD_EXCHANGE = "iiot.dead"
DEAD_QUEUE = "iiot.dead"
COMMANDS_EXCHANGE = "iiot.commands"
_COMMANDS_QUEUE_START = "iiot.commands."


def telemetry_key(tenant: str, device: str) -> str:
    """Return the routing key under which a device publishes its telemetry."""
    return f"{tenant}.{device}.telemetry"


def response_key(tenant: str, device: str) -> str:
    """Return the routing key under which a device answers commands."""
    return f"{tenant}.{device}.commands.response"


def commands_key(tenant: str, device: str) -> str:
    """Return the routing key of a device's commands."""
    return f"{tenant}.{device}.commands"


def reported_key(tenant: str, device: str) -> str:
    """Return the routing key under which a device reports what it is set to."""
    return f"{tenant}.{device}.state.reported"


def state_get_key(tenant: str, device: str) -> str:
    """Return the routing key under which a device asks what it shall be set to."""
    return f"{tenant}.{device}.state.get"


def desired_key(tenant: str, device: str) -> str:
    """Return the routing key of what a device shall be set to."""
    return f"{tenant}.{device}.state.desired"


def commands_queue(tenant: str, device: str) -> str:
    """Return the only queue that a device may declare and read."""
    return f"{_COMMANDS_QUEUE_START}{tenant}.{device}"


class Sender(msgspec.Struct, frozen=True):
    """Who published under a key, and what it is to the pipeline; tenant and device are empty where the key is none of ours."""

    tenant: str
    device: str
    key: str
    channel: str = ""


@lru_cache(maxsize=50_000)
def parse_key(routing_key: bytes) -> Sender:
    """Take the key of readings, of an answer or of a state apart. Remembered, because a device sends under the same one again and again."""
    key = routing_key.decode("utf-8", "replace")
    match key.split("."):
        case [tenant, device, "telemetry"]:
            return Sender(tenant, device, key)
        case [tenant, device, "commands", "response"]:
            return Sender(tenant, device, key, RESPONSE)
        case [tenant, device, "state", "reported"]:
            return Sender(tenant, device, key, REPORTED)
        case [tenant, device, "state", "get"]:
            return Sender(tenant, device, key, STATE_GET)
    return Sender("", "", key)


def was_smuggled(headers: bytes) -> bool:
    """Tell whether the message came out of a device's own queue as a dead letter.

    The device chooses the routing key of what its queue drops, and the broker checks no rights then; but it notes the
    queue in the header x-death.
    """
    return b"x-death" in headers and _COMMANDS_QUEUE_START.encode() in headers
