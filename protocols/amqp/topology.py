"""Declares the platform's exchanges and queues; safe to repeat. Works on every kind of pika channel.

Quorum queues keep what the broker has confirmed through its crash. There is no delivery limit: a database that is away
for long must not turn good messages into dead letters. What the platform refuses goes to the dead letters, which are
bounded, for people with the broker's tools; the reason is among the rejected messages.
"""

from typing import Any

from protocols.amqp.names import (
    COMMANDS_EXCHANGE,
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    TELEMETRY_BINDINGS,
    TELEMETRY_EXCHANGE,
    TELEMETRY_QUEUE,
)

DEAD_LETTERS_KEPT_COUNT = 10_000
DEAD_LETTERS_KEPT_BYTES = 64 * 1024 * 1024


def declare_topology(channel: Any) -> None:
    """Make what is missing. The broker closes the channel where a queue is there with other arguments."""
    channel.exchange_declare(exchange=TELEMETRY_EXCHANGE, exchange_type="topic", durable=True)
    declare_commands_exchange(channel)
    channel.exchange_declare(exchange=DEAD_EXCHANGE, exchange_type="fanout", durable=True)
    bounds = {"x-max-length": DEAD_LETTERS_KEPT_COUNT, "x-max-length-bytes": DEAD_LETTERS_KEPT_BYTES, "x-overflow": "drop-head"}
    channel.queue_declare(queue=DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum", **bounds})
    channel.queue_bind(queue=DEAD_QUEUE, exchange=DEAD_EXCHANGE, routing_key="")
    channel.queue_declare(
        queue=TELEMETRY_QUEUE, durable=True, arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD_EXCHANGE}
    )
    for binding in TELEMETRY_BINDINGS:
        channel.queue_bind(queue=TELEMETRY_QUEUE, exchange=TELEMETRY_EXCHANGE, routing_key=binding)


def declare_commands_exchange(channel: Any) -> None:
    """Make the exchange that devices' queues are bound to, for commands and for what they shall be set to."""
    channel.exchange_declare(exchange=COMMANDS_EXCHANGE, exchange_type="topic", durable=True)
