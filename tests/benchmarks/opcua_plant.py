"""A plant's OPC UA server that changes its values as fast as it is told, and a bare asyncua subscription to compare with.

`python -m tests.benchmarks.opcua_plant <url> <nodes> <changes> <probes>` subscribes to all nodes without storing anything; it prints a line
when all changes have come, then the latencies of the probe's changes as a JSON list of seconds.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.server.server import Server

NAMESPACE = "urn:bench:plant"
PUBLISHING_SECONDS = 0.1
QUEUE_SIZE = 100
FIRST_NODE = 1_000
T = TypeVar("T")


def node_id(number: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(FIRST_NODE + number), ua.Int16(2))


class BenchPlant:
    """The server, on a thread of its own. Node 0 is the probe; its value is a number that grows."""

    def __init__(self, *, port: int, nodes: int) -> None:
        self.url = f"opc.tcp://127.0.0.1:{port}"
        self.nodes = nodes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = Server()
        self._call(self._start())

    def change_all(self, rounds: int) -> None:
        """Change every node but the probe that many times, as fast as it goes; source times a millisecond apart."""
        self._call(self._change_all(rounds))

    def change_steadily(self, *, per_second: float, seconds: float) -> None:
        """Change nodes in turn at a rate; returns at once."""
        asyncio.run_coroutine_threadsafe(self._change_steadily(per_second, seconds), self._loop)

    def change_probe(self, value: int) -> None:
        """Give the probe another value now."""
        self._call(self._write(0, float(value), datetime.now(UTC)))

    def close(self) -> None:
        self._call(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(300)

    async def _start(self) -> None:
        await self._server.init()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await self._server.register_namespace(NAMESPACE)
        for number in range(self.nodes):
            await self._server.nodes.objects.add_variable(node_id(number), f"n{number}", 0.0)
        await self._server.start()

    async def _change_all(self, rounds: int) -> None:
        start = datetime.now(UTC)
        for turn in range(rounds):
            at = start + timedelta(milliseconds=turn)
            for number in range(1, self.nodes):
                await self._write(number, 20.5 + (turn * 7 + number) % 1000 / 10, at)
                if number % 100 == 0:
                    await asyncio.sleep(0)  # let the server publish

    async def _change_steadily(self, per_second: float, seconds: float) -> None:
        started = time.monotonic()
        for count in range(int(per_second * seconds)):
            while (ahead := count / per_second - (time.monotonic() - started)) > 0:
                await asyncio.sleep(ahead)
            await self._write(1 + count % (self.nodes - 1), count / 7, datetime.now(UTC))

    async def _write(self, number: int, value: float, at: datetime) -> None:
        moment = ua.DateTime.fromtimestamp(at.timestamp(), UTC)
        await self._server.write_attribute_value(node_id(number), ua.DataValue(ua.Variant(value), SourceTimestamp=moment))


class Bare:
    """Counts what comes; notes how late the probe's values are."""

    def __init__(self, nodes: int, changes: int, probes: int) -> None:
        self._probes = probes
        self._left = nodes + changes
        self._initial = nodes
        self.latencies: list[float] = []
        self.has_all = asyncio.Event()
        self.has_probes = asyncio.Event()

    def datachange_notification(self, node: Any, value: float, data: Any) -> None:
        self._left -= 1
        self._initial -= 1
        if self._initial == 0:
            Path(os.environ["IIOT_READY_FILE"]).touch()
        if self._left == 0:
            self.has_all.set()
        if node.nodeid.Identifier == FIRST_NODE and value:
            sent = data.monitored_item.Value.SourceTimestamp.replace(tzinfo=UTC)
            self.latencies.append((datetime.now(UTC) - sent).total_seconds())
            if len(self.latencies) == self._probes:
                self.has_probes.set()


async def subscribe_barely(url: str, nodes: int, changes: int, probes: int) -> None:
    """Subscribe until all has come."""
    handler = Bare(nodes, changes, probes)
    async with Client(url) as client:
        subscription = await client.create_subscription(PUBLISHING_SECONDS * 1000, handler)
        await subscription.subscribe_data_change([client.get_node(node_id(number)) for number in range(nodes)], queuesize=QUEUE_SIZE)
        await handler.has_all.wait()
        print("all", flush=True)
        await handler.has_probes.wait()
        print(json.dumps(handler.latencies), flush=True)


if __name__ == "__main__":
    asyncio.run(subscribe_barely(sys.argv[1], *(int(word) for word in sys.argv[2:5])))
