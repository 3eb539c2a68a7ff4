"""Publishes commands to the queues that devices have bound to `iiot.commands`, on a connection of its own.

For one thread, the dispatcher's. A command has left once the broker has confirmed it; where no queue is bound to its key
the broker returns it (`mandatory`), and it stays queued here until the device has made its queue.
Source: AMQP 0-9-1, basic.publish; rabbitmq.com/confirms.html, /ttl.html.
"""

import contextlib
import logging
import time
from datetime import datetime
from typing import Any

import pika
from django.utils import timezone
from pika.exceptions import AMQPError, NackError, UnroutableError

from devices.command_states import next_offer_at
from devices.types import CommandRef
from protocols.amqp.address import BrokerAddress
from protocols.amqp.consumer import connection_parameters
from protocols.amqp.names import COMMANDS_EXCHANGE, commands_key
from protocols.amqp.topology import declare_commands_exchange
from protocols.commands import encode_command

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
        """Tell whether commands can leave."""
        if self._channel is not None and not self._channel.is_open:
            self.close()
        try:
            if self._channel is not None:
                self._connection.process_data_events(0)
            elif time.monotonic() >= self._retry_at:
                self._connect()
        except (AMQPError, OSError) as exc:
            logger.warning("commands wait for RabbitMQ: %r", exc)
            self.close()
        return self._channel is not None and self._channel.is_open

    def send(self, tenant: str, command: CommandRef) -> bool:
        """Publish a command; True once the broker has it in the device's queue, False where it has none."""
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            message_id=str(command.id),
            expiration=str(lifetime_ms(command, now=timezone.now())),
        )
        try:
            key = commands_key(tenant, command.device_key)
            self._channel.basic_publish(COMMANDS_EXCHANGE, key, encode_command(command), properties, mandatory=True)
        except (UnroutableError, NackError):
            return False
        except (AMQPError, OSError):
            self.close()
            raise
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


def lifetime_ms(command: CommandRef, *, now: datetime) -> int:
    """Return how long the broker keeps a copy: until the next one follows it, so that a queue nobody reads holds one of each."""
    until = min(command.expires_at, next_offer_at(attempts=command.attempt, now=now))
    return max(0, int((until - now).total_seconds() * 1000))
