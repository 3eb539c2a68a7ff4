"""Keeps one consumer of the telemetry queue running, on a thread of its own: pika's connections belong to one thread.

Whatever ends a connection (the broker's restart, a deleted queue, a message that cannot be read) leads to a new one, after a
pause that doubles from one second to ten. What was not acknowledged by then comes again.
"""

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from protocols.amqp.frames import Arrival
from protocols.amqp.link import BulkConnection
from protocols.amqp.names import TELEMETRY_QUEUE
from protocols.amqp.topology import declare_topology
from protocols.broker_address import BrokerAddress

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
HEARTBEAT_SECONDS = 60

Take = Callable[[int, Sequence[Arrival]], None]


def connection_parameters(address: BrokerAddress, *, name: str) -> pika.ConnectionParameters:
    """Return how to connect: one attempt, we pause between them ourselves."""
    context = ssl.create_default_context() if address.uses_tls else None
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.virtual_host,
        credentials=pika.PlainCredentials(address.username, address.password),
        heartbeat=HEARTBEAT_SECONDS,
        socket_timeout=5,
        stack_timeout=10,
        connection_attempts=1,
        client_properties={"connection_name": name},
        ssl_options=pika.SSLOptions(context, address.host) if context else None,
    )


class Consumer:
    """`take(session, messages)` is called on the consumer's thread; a session is one connection."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        prefetch: int,
        take: Take,
        on_ready: Callable[[], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._parameters = connection_parameters(address, name="iiot listener")
        self._prefetch = prefetch
        self._take = take
        self._on_ready = on_ready
        self._on_problem = on_problem
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqp-consumer", daemon=True)
        self._lock = threading.Lock()
        self._loop: IOLoop | None = None
        self._connection: Any = None
        self._channel: Any = None
        self._session = 0
        self._was_ready = False
        self._problem = ""

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Send what is still to be acknowledged, disconnect, end the thread."""
        self._stopping.set()
        self._call(self._close)
        self._thread.join(timeout_seconds)

    def settle(self, *, session: int, refused: Sequence[int], until: int, on_confirmed: Callable[[], None]) -> None:
        """Refuse these deliveries, acknowledge all others up to `until`; `on_confirmed` once the broker has done so.

        Any thread may call it. Deliveries of a former session are left: they come again and are settled then.
        """
        self._call(lambda: self._settle(session, refused, until, on_confirmed))

    def _call(self, function: Callable[[], None]) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(function)

    # --- The consumer's thread

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            self._session += 1
            self._was_ready, self._problem = False, ""
            try:
                self._serve()
            except Exception as exc:  # the listener's loop: whatever it was, the next connection gets the messages again
                logger.exception("the connection to RabbitMQ broke")
                self._problem = f"{type(exc).__name__}: {exc}"
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_SECONDS if self._was_ready else min(2 * pause, LONGEST_PAUSE_SECONDS)
            self._on_problem(self._problem)
            self._stopping.wait(pause)

    def _serve(self) -> None:
        """Run one connection until it ends."""
        loop = IOLoop()
        with self._lock:
            self._loop = loop
        try:
            self._connection = BulkConnection(
                self._parameters,
                on_arrivals=lambda arrivals: self._take(self._session, arrivals),
                on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
                on_open_error_callback=self._on_closed,
                on_close_callback=self._on_closed,
                custom_ioloop=loop,
            )
            loop.start()
        finally:
            self._channel = None
            with self._lock:
                self._loop = None
            loop.close()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, reason: self._give_up(f"RabbitMQ closed the channel: {reason}"))
        channel.add_on_cancel_callback(lambda _: self._give_up(f"the queue {TELEMETRY_QUEUE} was deleted"))
        declare_topology(channel)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(TELEMETRY_QUEUE, on_message_callback=refuse_message, callback=self._on_consuming)

    def _on_consuming(self, _frame: Any) -> None:
        self._was_ready = True
        self._on_ready()

    def _settle(self, session: int, refused: Sequence[int], until: int, on_confirmed: Callable[[], None]) -> None:
        if session != self._session or self._channel is None or not self._channel.is_open:
            return
        for tag in refused:
            self._channel.basic_nack(tag, requeue=False)
        if until:
            self._channel.basic_ack(until, multiple=True)
        # Acknowledgements are not confirmed, but a channel works in order: the answer to this means that they were taken.
        self._channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: on_confirmed())

    def _give_up(self, problem: str) -> None:
        self._problem = self._problem or problem
        self._close()

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        elif self._loop is not None and not (self._connection is not None and self._connection.is_closing):
            self._loop.stop()

    def _on_closed(self, _connection: Any, reason: Exception) -> None:
        self._problem = self._problem or f"no connection to RabbitMQ: {describe_reason(reason)}"
        if self._loop is not None:
            self._loop.stop()


def refuse_message(*_: Any) -> None:
    """Stand in where pika wants a callback. The link takes every message before pika sees it."""
    raise RuntimeError("a message came past the link")


def describe_reason(reason: BaseException) -> str:
    """Say in a line why a connection ended: the innermost of the exceptions that pika wraps around each other."""
    inner = [*getattr(reason, "exceptions", ()), getattr(reason, "exception", None), *reason.args]
    for cause in reversed(inner):
        if isinstance(cause, BaseException):
            return describe_reason(cause)
    return str(reason) or repr(reason)
