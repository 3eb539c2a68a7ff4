"""ingest-coap: 1,000 devices of a tenant, each with its token, three values a message, every answer after the commit.

The reference in the same run is aiocoap answering without storing. `make bench NAME=ingest-coap`.
"""

import os
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.benchmarks.coap_load import CoapLoad
from tests.benchmarks.plant import clear_readings, count_readings, make_device_tokens, make_plant, process

DEVICES = 1_000
VALUES = 3
MESSAGES = int(os.environ.get("IIOT_BENCH_MESSAGES", "10000"))
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))
SENDERS = 2


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def run(*server: str, port: int, tokens: Path) -> tuple[float, float]:
    """Return messages per second, and CPU seconds of the server per 100,000 readings."""
    folder = Path(os.environ["IIOT_DATA_DIR"])
    with process(*server, ready=str(folder / "bench-coap.ready"), env={"IIOT_COAP_PORT": str(port)}) as running:
        before = cpu_seconds(running.pid)
        start_ms = int(time.time() * 1000) - 3_600_000
        loads = [CoapLoad(port, str(tokens), MESSAGES, first, SENDERS, start_ms) for first in range(SENDERS)]
        with ExitStack() as stack:
            senders = [stack.enter_context(process("-m", "tests.benchmarks.coap_load", load.to_argument())) for load in loads]
            seconds = [float(sender.stdout.read()) for sender in senders if sender.stdout is not None]
        used = cpu_seconds(running.pid) - before
    return MESSAGES / max(seconds), used / (MESSAGES * VALUES) * 100_000


def main() -> None:
    """Print the median of three runs."""
    [tenant] = make_plant(["bench-coap"], devices=DEVICES)
    tokens = Path(os.environ["IIOT_DATA_DIR"]) / "bench-coap-tokens"
    tokens.write_text("\n".join(make_device_tokens(tenant)))
    tokens.chmod(0o600)
    figures = []
    for _ in range(ROUNDS):
        port = free_port()
        limit, _ = run("-m", "tests.benchmarks.coap_load", "bare", str(port), port=port, tokens=tokens)
        clear_readings([tenant])
        figure, cpu = run("manage.py", "listen", "coap", port=free_port(), tokens=tokens)
        assert count_readings([tenant]) == MESSAGES * VALUES, "something was answered and is not there"
        figures.append((figure, cpu, limit))
    figure, cpu, limit = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"ingest-coap: {figure:,.0f} messages/s ({figure * VALUES:,.0f} readings/s) ratio={figure / limit:.2f} of bare aiocoap "
        f"({limit:,.0f}), CPU {cpu:.2f} s/100k readings; 0 lost, 0 twice"
    )


if __name__ == "__main__":
    main()
