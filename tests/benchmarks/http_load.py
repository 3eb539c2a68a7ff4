"""Posts telemetry over HTTP on connections that are kept open; a program of its own, and the bare server to compare with.

`python -m tests.benchmarks.http_load '<json of HttpLoad>'` prints the seconds it took until everything was answered with 200.
"""

import http.client
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """What to send: `requests` lists of `batch` messages of three values each, over `connections`."""

    port: int
    path: str
    token: str
    devices: int
    requests: int
    batch: int
    start_ms: int
    connections: int = 4

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


def make_body(load: HttpLoad, number: int) -> bytes:
    """Return one request: messages of consecutive devices, each round of all devices one second of source time."""
    messages = []
    for n in range(number * load.batch, (number + 1) * load.batch):
        second, device = divmod(n, load.devices)
        values = {"temperature": 20.5 + n % 97 / 10, "pressure": 3.5 + n % 13 / 10, "vibration": 0.5 + n % 1000 / 1000}
        messages.append({"device": f"dev{device}", "ts": load.start_ms + second * 1000, "values": values})
    return json.dumps(messages).encode()


def send(load: HttpLoad) -> float:
    """Send it all; return the seconds until the last answer."""
    bodies = [make_body(load, number) for number in range(load.requests)]
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/json"}
    failures: list[str] = []

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("localhost", load.port)
        for body in bodies[first :: load.connections]:
            connection.request("POST", load.path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failures.append(f"{answer.status} {text[:200]!r}")
                return

    threads = [threading.Thread(target=work, args=(first,)) for first in range(load.connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(failures[0])
    return time.perf_counter() - started


async def bare(scope: Any, receive: Any, send_event: Any) -> None:
    """Answer a request after reading it: what uvicorn can do at most."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send_event({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send_event({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    print(send(HttpLoad(**json.loads(sys.argv[1]))))
