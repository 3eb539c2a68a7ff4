"""Posts telemetry over CoAP from many sockets, one confirmable request at a time each; and the bare server to compare with.

`python -m tests.benchmarks.coap_load '<json of CoapLoad>'` prints the seconds it took until everything was answered with 2.04;
`python -m tests.benchmarks.coap_load bare <port>` is aiocoap answering without storing.
"""

import asyncio
import json
import os
import selectors
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiocoap
from aiocoap.resource import Resource, Site

PATIENCE_SECONDS = 4.0
CHANGED = 0x44


@dataclass(frozen=True, slots=True)
class CoapLoad:
    """What to send: messages `first`, `first + step`, … below `messages`, of three values each, over `sockets` sockets."""

    port: int
    tokens_file: str
    messages: int
    first: int
    step: int
    start_ms: int
    sockets: int = 100

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


def make_datagram(load: CoapLoad, tokens: list[str], number: int) -> bytes:
    """Return one request; each round of all devices is one second of source time."""
    second, device = divmod(number, len(tokens))
    values = {"temperature": 20.5 + number % 97 / 10, "pressure": 3.5 + number % 13 / 10, "vibration": 0.5 + number % 1000 / 1000}
    payload = json.dumps({"ts": load.start_ms + second * 1000, "values": values}).encode()
    query = f"k={tokens[device]}".encode()
    # Uri-Path 11: "t"; Content-Format 12: 50; Uri-Query 15.
    options = b"\xb1t\x11\x32" + bytes([0x3D, len(query) - 13]) + query
    return struct.pack("!BBHH", 0x42, 0x02, number & 0xFFFF, number & 0xFFFF) + options + b"\xff" + payload


def send(load: CoapLoad) -> float:
    """Send it all, repeating what is not answered; return the seconds until the last answer."""
    tokens = Path(load.tokens_file).read_text().split()
    waiting = [make_datagram(load, tokens, number) for number in range(load.first, load.messages, load.step)]
    sent: dict[socket.socket, tuple[bytes, float]] = {}
    selector = selectors.DefaultSelector()

    def send_next(endpoint: socket.socket) -> None:
        if waiting:
            sent[endpoint] = (waiting.pop(), time.perf_counter())
            endpoint.send(sent[endpoint][0])

    started = time.perf_counter()
    for _ in range(load.sockets):
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        endpoint.connect(("127.0.0.1", load.port))
        selector.register(endpoint, selectors.EVENT_READ)
        send_next(endpoint)
    while sent:
        for key, _ in selector.select(0.5):
            endpoint = key.fileobj  # type: ignore[assignment]  # only sockets are registered
            if is_answered(endpoint, sent[endpoint][0]):
                del sent[endpoint]
                send_next(endpoint)
        for endpoint, (datagram, at) in list(sent.items()):
            if time.perf_counter() - at > PATIENCE_SECONDS:
                sent[endpoint] = (datagram, time.perf_counter())
                endpoint.send(datagram)
    return time.perf_counter() - started


def is_answered(endpoint: socket.socket, datagram: bytes) -> bool:
    """Read a datagram; tell whether it is the 2.04 that was awaited. A confirmable one is acknowledged."""
    answer = endpoint.recv(2_048)
    if answer[0] & 0x30 == 0:
        endpoint.send(b"\x60\x00" + answer[2:4])
    if answer[1] not in (0, CHANGED):
        sys.exit(f"answered {answer[1] >> 5}.{answer[1] & 31:02d}")
    return answer[1] == CHANGED and answer[-2:] == datagram[2:4]


class Bare(Resource):  # type: ignore[misc]  # aiocoap has no types
    """Answers without storing: what aiocoap can do at most."""

    async def render_post(self, _request: Any) -> Any:
        return aiocoap.Message(code=aiocoap.CHANGED)


async def serve_bare(port: int) -> None:
    site = Site()
    site.add_resource(["t"], Bare())
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    Path(os.environ["IIOT_READY_FILE"]).touch()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        asyncio.run(serve_bare(int(sys.argv[2])))
    else:
        print(send(CoapLoad(**json.loads(sys.argv[1]))))
