"""Who may do what in RabbitMQ: the answers to rabbitmq_auth_backend_http, as functions of names. Pure.

A device publishes to one exchange under its own keys, and declares and reads one queue of its own. Nothing else:
not the default exchange (it would reach every queue), not the queue of the platform. It binds nothing, its own queue neither:
who may bind a queue may bind exchange to exchange as well, durably and as often as there are arguments. The platform binds.
Source: rabbitmq.com/access-control.html (which operation needs which permission on what).
"""

from collections.abc import Mapping

from iiot_site.lib.broker_logins import first_login
from protocols.amqp.names import (
    TELEMETRY_EXCHANGE,
    commands_queue,
    reported_key,
    response_key,
    state_get_key,
    telemetry_key,
)

VIRTUAL_HOST = "/"


def split_username(username: str) -> tuple[str, str] | None:
    """Return tenant and device of either user name of a device; None for any other name."""
    match first_login(username).split("/"):
        case [tenant, device] if tenant and device:
            return tenant, device
    return None


def may_enter(question: Mapping[str, str]) -> bool:
    """Tell whether a device may use the virtual host."""
    return split_username(question.get("username", "")) is not None and question.get("vhost") == VIRTUAL_HOST


def may_use_resource(question: Mapping[str, str]) -> bool:
    """Tell whether a device may configure, write to or read an exchange or a queue."""
    own = split_username(question.get("username", ""))
    if own is None or not may_enter(question):
        return False
    asked = question.get("resource"), question.get("name"), question.get("permission")
    if asked[:2] == ("queue", commands_queue(*own)):
        return asked[2] in {"configure", "read"}
    return asked == ("exchange", TELEMETRY_EXCHANGE, "write")


def may_use_topic(question: Mapping[str, str]) -> bool:
    """Tell whether a device may publish under a routing key."""
    own = split_username(question.get("username", ""))
    if own is None or not may_enter(question) or (question.get("name"), question.get("permission")) != (TELEMETRY_EXCHANGE, "write"):
        return False
    return question.get("routing_key") in {telemetry_key(*own), response_key(*own), reported_key(*own), state_get_key(*own)}
