"""A real RabbitMQ, and a listener that runs in this process."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from django.conf import settings
from pika.exceptions import AMQPError

from protocols.amqp.consumer import connection_parameters
from protocols.amqp.listener import AmqpListener
from protocols.amqp.names import DEAD_QUEUE, TELEMETRY_EXCHANGE, TELEMETRY_QUEUE
from protocols.amqp.topology import declare_topology
from protocols.broker_address import BrokerAddress, parse_amqp_url
from tests.protocols.running import running

KEY = "acme.pump-7.telemetry"


class Publisher:
    """A blocking client that may do anything, with confirms."""

    def __init__(self, address: BrokerAddress) -> None:
        self.connection = pika.BlockingConnection(connection_parameters(address, name="test"))
        self.channel: Any = self.connection.channel()
        declare_topology(self.channel)
        self.channel.confirm_delivery()

    def publish(self, payload: bytes | str, *, key: str = KEY, **properties: Any) -> None:
        body = payload.encode() if isinstance(payload, str) else payload
        self.channel.basic_publish(TELEMETRY_EXCHANGE, key, body, pika.BasicProperties(**properties), mandatory=True)

    def waiting(self, queue: str = TELEMETRY_QUEUE) -> int:
        """Return how many messages are ready in a queue; those in flight do not count."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)


@pytest.fixture
def broker() -> BrokerAddress:
    """The broker with the platform's login."""
    if not settings.AMQP_URL:
        pytest.skip("no RabbitMQ")
    return parse_amqp_url(settings.AMQP_URL)


@pytest.fixture
def platform(broker: BrokerAddress) -> Iterator[Publisher]:
    """A client that may publish anything; the queues are empty before and after."""
    publisher = Publisher(broker)
    for queue in (TELEMETRY_QUEUE, DEAD_QUEUE):
        publisher.channel.queue_purge(queue)
    yield publisher
    with contextlib.suppress(AMQPError):  # the broker was restarted
        publisher.connection.close()
    cleaner = Publisher(broker)
    for queue in (TELEMETRY_QUEUE, DEAD_QUEUE):
        cleaner.channel.queue_purge(queue)
    cleaner.connection.close()


RunListener = Callable[[], AbstractContextManager[AmqpListener]]


@pytest.fixture
def run_listener(broker: BrokerAddress, transactional_db: None, tmp_path: Path) -> RunListener:
    """Return a context in which a listener runs; leaving it stops the listener as SIGTERM would."""

    @contextmanager
    def run() -> Iterator[AmqpListener]:
        ready_file = tmp_path / "ready"
        ready_file.unlink(missing_ok=True)
        with running(AmqpListener(broker, ready_file=ready_file), ready_file=ready_file) as listener:
            yield listener

    return run
