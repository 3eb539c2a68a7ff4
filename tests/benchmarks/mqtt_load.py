"""Publishes telemetry over MQTT 3.1.1 with QoS 1 as fast as the broker takes it, or at a rate; a program of its own.

`python -m tests.benchmarks.mqtt_load '<json of Load>'` prints the seconds it took until all was acknowledged. Packets are
made by hand, so that the generator takes little of the machine that it measures. Source: MQTT 3.1.1 §2.2, §3.1, §3.3.
"""

import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit

CHUNK = 100
CONNECTED = b"\x20\x02\x00\x00"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `messages` of three values each, in turn from each of `devices` of each tenant; `rate` 0 is no limit."""

    broker: str
    prefix: str
    tenants: list[str]
    devices: int
    messages: int
    start_ms: int
    rate: float = 0
    connections: int = 4
    window: int = 1000

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


def _packet(kind: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes((kind,)) + length + body


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def connect(broker: str, number: int) -> socket.socket:
    """Log in at the broker and return the socket."""
    parts = urlsplit(broker)
    link = socket.create_connection((parts.hostname or "localhost", parts.port or 1883))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    login = _text(f"bench-load-{number}-{time.time_ns()}") + _text(unquote(parts.username or "")) + _text(unquote(parts.password or ""))
    link.sendall(_packet(0x10, _text("MQTT") + b"\x04\xc2\x00\x00" + login))
    answer = link.recv(4)
    if answer != CONNECTED:
        raise SystemExit(f"the broker refused the load generator: {answer!r}")
    link.setblocking(False)
    return link


def make_packets(load: Load) -> Iterator[bytes]:
    """Yield packets; packet ids and times count up. Each round of all devices is one second of source time."""
    topics = [_text(f"{load.prefix}/{tenant}/dev{n}/telemetry") for n in range(load.devices) for tenant in load.tenants]
    for n in range(load.messages):
        second, place = divmod(n, len(topics))
        ts = load.start_ms + second * 1000
        payload = b'{"ts": %d, "values": {"temperature": %.2f, "pressure": %.2f, "vibration": 0.%03d}}' % (
            ts,
            20 + n % 97 / 10,
            3 + n % 13 / 10,
            n % 1000,
        )
        yield _packet(0x32, topics[place] + (n % 65535 + 1).to_bytes(2, "big") + payload)


def send(load: Load) -> float:
    """Send it all; return the seconds until the last acknowledgement."""
    links = [connect(load.broker, n) for n in range(load.connections)]
    packets = make_packets(load)
    waiting = dict.fromkeys(links, b"")
    in_flight = dict.fromkeys(links, 0)
    sent = acknowledged = 0
    started = time.perf_counter()
    while acknowledged < load.messages:
        if load.rate and (ahead := sent / load.rate - (time.perf_counter() - started)) > 0:
            time.sleep(min(ahead, 0.005))
        for link in links:
            room = sent < load.messages and in_flight[link] <= load.window - CHUNK
            if room and not waiting[link] and not (load.rate and sent > load.rate * (time.perf_counter() - started)):
                chunk = [packet for _, packet in zip(range(CHUNK), packets, strict=False)]
                waiting[link] = b"".join(chunk)
                in_flight[link] += len(chunk)
                sent += len(chunk)
        writable = [link for link in links if waiting[link]]
        readable, writable, _ = select.select(links, writable, [], 0.05)
        for link in writable:
            waiting[link] = waiting[link][link.send(waiting[link]) :]
        for link in readable:
            data = link.recv(65536)
            if not data:
                raise SystemExit("the broker closed the connection of the load generator")
            # A PUBACK has four bytes; one cut in two is counted with the second half.
            count = len(data) // 4
            acknowledged += count
            in_flight[link] -= count
    return time.perf_counter() - started


if __name__ == "__main__":
    print(send(Load(**json.loads(sys.argv[1]))))
