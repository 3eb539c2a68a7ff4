"""Takes telemetry from RabbitMQ; it is acknowledged after the commit, a range of messages at a time. Sends commands and states.

Five threads: the consumer's reads the socket into the buffer, the main thread stores, a third hands on what is stored, a
fourth forgets what can no longer come again, a fifth sends commands and states. What the platform refuses as a whole becomes a dead letter.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, connection

from protocols.amqp.acknowledging import plan_settlement
from protocols.amqp.command_sender import CommandSender
from protocols.amqp.consumer import Consumer
from protocols.amqp.frames import Arrival
from protocols.amqp.names import parse_key, was_smuggled
from protocols.amqp.properties import read_properties
from protocols.broker_address import BrokerAddress
from protocols.codecs.registry import codec_of_content_type
from protocols.commands import CommandDispatcher
from protocols.listening import BUSY_BATCH_SECONDS, ListenerCore
from protocols.login_sync import LoginSync
from protocols.types import BatchOutcome, Delivery, RawMessage
from protocols.unnumbered_deliveries import CONSUMER_START, forget_confirmed, forget_older, has_recorded, next_count

logger = logging.getLogger(__name__)

BATCH_SIZE = 4_000
PREFETCH = 2 * BATCH_SIZE  # one half is stored while the other arrives
PROTOCOL = "amqp"
KEPT_SECONDS = 600  # the broker sends again as soon as somebody reads


class AmqpListener:
    """One listener process: `run` returns after `request_stop`, with everything taken in stored and acknowledged."""

    def __init__(self, address: BrokerAddress, *, ready_file: Path | None = None, login_sync: LoginSync | None = None) -> None:
        self._login_sync = login_sync
        self._name = f"{CONSUMER_START}{uuid4().hex[:16]}"
        self._core = ListenerCore(
            name=PROTOCOL,
            acknowledge=self._acknowledge,
            batch_size=BATCH_SIZE,
            busy_batch_seconds=BUSY_BATCH_SECONDS,
            ready_file=ready_file,
            on_beat=self._prune,
            find_error=lambda: (login_sync.last_error if login_sync else "") or self._dispatcher.last_error,
        )
        self._consumer = Consumer(address, prefetch=PREFETCH, take=self._take, on_ready=self._on_ready, on_problem=self._on_problem)
        self._memory = _Memory()
        self._sender = CommandSender(address)
        self._dispatcher = CommandDispatcher(
            protocol=PROTOCOL, send=self._sender.send, send_state=self._sender.send_state, is_ready=self._sender.is_ready
        )
        self._count = 0
        self._count_at_connect: int | None = None  # None while there is no connection

    @property
    def last_error(self) -> str:
        """What went wrong last."""
        return self._core.last_error

    def request_stop(self) -> None:
        """Stop reading, store and acknowledge what was read, then end. Only sets flags: signal handlers call it."""
        self._core.request_stop()

    def run(self) -> None:
        """Listen until told to stop."""
        if not self._core.wait_for_database():
            return
        if self._login_sync is not None:
            self._login_sync.start()
        self._memory.start()
        self._core.run(connect=self._connect, disconnect=self._disconnect)

    # --- Main thread

    def _connect(self) -> None:
        self._consumer.start()
        self._dispatcher.start()

    def _disconnect(self) -> None:
        self._dispatcher.stop(timeout_seconds=10)
        self._sender.close()
        self._consumer.stop(timeout_seconds=10)
        self._memory.stop()

    def _acknowledge(self, batch: Sequence[RawMessage], outcome: BatchOutcome) -> None:
        settlement = plan_settlement(batch, outcome.refused)
        if settlement is None:
            return
        consumer, count = settlement.consumer, settlement.count
        self._consumer.settle(
            session=int(consumer.rpartition("/")[2]),
            refused=settlement.refused,
            until=settlement.until,
            on_confirmed=lambda: self._memory.forget(consumer, count),
        )

    def _prune(self) -> None:
        """Forget what would have come again, once the broker has had the time to send it."""
        now, connected_at = next_count(0), self._count_at_connect
        if connected_at is not None and now - connected_at > KEPT_SECONDS * 1_000_000:
            forget_older(than=now - KEPT_SECONDS * 1_000_000)

    # --- The consumer's thread

    def _on_ready(self) -> None:
        self._count_at_connect = next_count(0)
        logger.info("listening to RabbitMQ")
        self._core.mark_connected()

    def _on_problem(self, problem: str) -> None:
        self._count_at_connect = None
        self._core.mark_connecting(problem)

    def _take(self, session: int, arrivals: Sequence[Arrival]) -> None:
        """Queue messages; waits while the buffer is full, which stops reading from the socket."""
        received_at, consumer = datetime.now(UTC), f"{self._name}/{session}"
        messages = []
        count = next_count(self._count)
        self._count = count + len(arrivals)
        for number, arrival in enumerate(arrivals, count):
            properties = read_properties(arrival.properties)
            sender = parse_key(arrival.key)
            # A message without a sender is refused and counted as unrouted, like one for a tenant that does not exist.
            tenant, device = ("", "") if properties.headers and was_smuggled(properties.headers) else (sender.tenant, sender.device)
            delivery = Delivery(consumer, number, arrival.tag, arrival.is_redelivered, False, False, properties.message_id)
            codec = codec_of_content_type(properties.content_type) if properties.content_type else ""
            messages.append(
                RawMessage(tenant, device, arrival.body, received_at, PROTOCOL, sender.key, delivery, codec, "", sender.channel)
            )
        self._core.put_all(messages)


class _Memory:
    """A thread that deletes memories of messages as soon as the broker has taken their acknowledgement.

    At once, because until then an equal message could be taken for a copy; and not in the consumer's thread, because a
    database that hangs must not cost the connection.
    """

    def __init__(self) -> None:
        self._confirmed: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="amqp-memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._confirmed.put(None)
        self._thread.join(5)

    def forget(self, consumer: str, count: int) -> None:
        """Forget the connection's deliveries up to this one."""
        if has_recorded(consumer=consumer):
            self._confirmed.put((consumer, count))

    def _run(self) -> None:
        while (confirmed := self._confirmed.get()) is not None:
            try:
                forget_confirmed(consumer=confirmed[0], until=confirmed[1])
            except (DatabaseError, InterfaceError) as exc:  # the next batch's deletion covers this one's
                logger.warning("what was confirmed is not forgotten yet: %s", exc)
                connection.close()
        connection.close()
