"""The least that AMQP ingest in Python can be: pika consumes and acknowledges a thousand at a time, and does nothing else.

`python -m tests.benchmarks.amqp_reader MESSAGES` reads that many from the telemetry queue and prints the seconds it took.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pika

from protocols.amqp.topology import declare_topology

PREFETCH = 4_000
ACKNOWLEDGE_EVERY = 1_000


class Reader:
    """Counts messages until all are there."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._started = 0.0
        parameters = pika.URLParameters(os.environ["AMQP_URL"])
        self._connection = pika.SelectConnection(parameters, on_open_callback=lambda c: c.channel(on_open_callback=self._consume))

    def run(self) -> float:
        """Return how many seconds it took."""
        self._connection.ioloop.start()
        return time.perf_counter() - self._started

    def _consume(self, channel: Any) -> None:
        channel.basic_qos(prefetch_count=PREFETCH)
        declare_topology(channel)
        channel.queue_purge("iiot.telemetry")
        channel.basic_consume("iiot.telemetry", self._on_message, callback=lambda _: Path(os.environ["IIOT_READY_FILE"]).touch())

    def _on_message(self, channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        self._started = self._started or time.perf_counter()
        self._left -= 1
        if self._left % ACKNOWLEDGE_EVERY == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if not self._left:
            # The answer comes behind the acknowledgements.
            channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _: self._connection.ioloop.stop())


if __name__ == "__main__":
    print(Reader(int(sys.argv[1])).run(), flush=True)
