"""Publishes commands and desired state to the queues that devices have made, on a connection of its own.

For one thread, the dispatcher's. What is published has left once the broker has confirmed it; where no queue is bound to its key
the broker returns it (`mandatory`). Then the device's queue is bound, which devices may not do; where there is none, it stays
queued here until the device has made it.
Source: AMQP 0-9-1, basic.publish; rabbitmq.com/confirms.html, /ttl.html.
"""

import contextlib
import logging
import time
from datetime import datetime
from typing import Any

import pika
from django.utils import timezone
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError, UnroutableError

from devices.command_states import next_offer_at
from devices.types import CommandRef, StateRef
from protocols.amqp.consumer import connection_parameters
from protocols.amqp.names import COMMANDS_EXCHANGE, commands_key, commands_queue, desired_key
from protocols.amqp.topology import declare_commands_exchange
from protocols.broker_address import BrokerAddress
from protocols.commands import encode_command, encode_state

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20
RECONNECT_SECONDS = 5.0
_PERSISTENT = 2


class CommandSender:
    """`is_ready` connects where there is no connection, and keeps an idle one alive: call it often."""

    def __init__(self, address: BrokerAddress) -> None:
        self._parameters = connection_parameters(address, name="iiot commands")
        self._parameters.heartbeat = HEARTBEAT_SECONDS
        self._connection: Any = None
        self._channel: Any = None
        self._retry_at = 0.0

    def is_ready(self) -> bool:
        """Tell whether anything can leave."""
        if self._channel is not None and not self._channel.is_open:
            self.close()
        try:
            if self._channel is not None:
                self._connection.process_data_events(0)
            elif time.monotonic() >= self._retry_at:
                self._connect()
        except (AMQPError, OSError) as exc:
            logger.warning("commands and states wait for RabbitMQ: %r", exc)
            self.close()
        return self._channel is not None and self._channel.is_open

    def send(self, tenant: str, command: CommandRef) -> bool:
        """Publish a command; True once the broker has it in the device's queue, False where it has none."""
        lifetime = lifetime_ms(attempt=command.attempt, expires_at=command.expires_at, now=timezone.now())
        key, queue = commands_key(tenant, command.device_key), commands_queue(tenant, command.device_key)
        return self._deliver(queue, key, encode_command(command), _properties(lifetime, message_id=str(command.id)))

    def send_state(self, tenant: str, state: StateRef) -> bool:
        """Publish what a device shall be set to; True once the broker has it in the device's queue, False where it has none."""
        lifetime = lifetime_ms(attempt=state.attempt, expires_at=None, now=timezone.now())
        key, queue = desired_key(tenant, state.device_key), commands_queue(tenant, state.device_key)
        return self._deliver(queue, key, encode_state(state), _properties(lifetime))

    def _deliver(self, queue: str, key: str, body: bytes, properties: pika.BasicProperties) -> bool:
        try:
            return self._publish(key, body, properties) or (self._bind(queue, key) and self._publish(key, body, properties))
        except NackError:
            return False
        except (AMQPError, OSError):
            self.close()
            raise

    def _publish(self, key: str, body: bytes, properties: pika.BasicProperties) -> bool:
        try:
            self._channel.basic_publish(COMMANDS_EXCHANGE, key, body, properties, mandatory=True)
        except UnroutableError:
            return False
        return True

    def _bind(self, queue: str, key: str) -> bool:
        """Bind a device's queue, on a channel that its absence may close; False where it is not there for us."""
        channel = self._connection.channel()
        try:
            channel.queue_bind(queue, COMMANDS_EXCHANGE, key)
        except ChannelClosedByBroker as exc:  # no such queue, or one of another connection only
            logger.debug("%s cannot be bound: %s", queue, exc)
            return False
        channel.close()
        return True

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection, self._channel = self._connection, None, None
        self._retry_at = time.monotonic() + RECONNECT_SECONDS
        if connection is not None and connection.is_open:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    def _connect(self) -> None:
        self._connection = pika.BlockingConnection(self._parameters)
        channel: Any = self._connection.channel()
        declare_commands_exchange(channel)
        channel.confirm_delivery()
        self._channel = channel


def _properties(lifetime: int, *, message_id: str | None = None) -> pika.BasicProperties:
    return pika.BasicProperties(content_type="application/json", delivery_mode=_PERSISTENT, message_id=message_id, expiration=str(lifetime))


def lifetime_ms(*, attempt: int, expires_at: datetime | None, now: datetime) -> int:
    """Return how long the broker keeps a copy: until the next one follows it, so that a queue nobody reads holds one of each."""
    until = next_offer_at(attempts=attempt, now=now)
    if expires_at is not None:
        until = min(expires_at, until)
    return max(0, int((until - now).total_seconds() * 1000))
