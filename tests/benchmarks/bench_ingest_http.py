"""ingest-http: 1,000 devices of a tenant, three values a message, with an API key: single messages and batches.

The reference in the same run is uvicorn with a bare application that reads the request and answers. `make bench NAME=ingest-http`.
"""

import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.http_load import HttpLoad
from tests.benchmarks.plant import clear_readings, count_readings, cpu_by_process, make_api_key, make_plant, process

DEVICES = 1000
VALUES = 3
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))
CASES = {"single": (2_000, 1), "batches of 100": (600, 100), "batches of 500": (200, 500)}


@contextmanager
def web(application: str) -> Iterator[int]:
    """Serve an ASGI application; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with process("-m", "iiot_site.web_server", application, "--port", str(port), "--no-access-log", "--log-level", "error"):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port


def run(port: int, token: str, requests: int, batch: int) -> tuple[float, float]:
    """Return readings per second, and CPU seconds per 100,000 readings."""
    load = HttpLoad(port, "/api/v1/telemetry", token, DEVICES, requests, batch, int(time.time() * 1000) - 3_600_000)
    before = sum(cpu_by_process().values())
    with process("-m", "tests.benchmarks.http_load", load.to_argument()) as sender:
        assert sender.stdout is not None
        answer = sender.stdout.read()
        assert sender.wait() == 0, "the platform refused the load"
    used = sum(cpu_by_process().values()) - before
    readings = requests * batch * VALUES
    return readings / float(answer), used / readings * 100_000


def main() -> None:
    """Print the median of three runs for each case."""
    [tenant] = make_plant(["bench-http"], devices=DEVICES)
    token = make_api_key(tenant)
    for case, (requests, batch) in CASES.items():
        figures = []
        for _ in range(ROUNDS):
            with web("tests.benchmarks.http_load:bare") as port:
                limit, _ = run(port, token, requests, batch)
            clear_readings([tenant])
            with web("iiot_site.asgi:application") as port:
                figure, cpu = run(port, token, requests, batch)
            assert count_readings([tenant]) == requests * batch * VALUES
            figures.append((figure, cpu, limit))
        figure, cpu, limit = (statistics.median(column) for column in zip(*figures, strict=True))
        per_second = figure / VALUES / batch
        print(
            f"ingest-http {case}: {figure:,.0f} readings/s ({per_second:,.0f} requests/s) ratio={figure / limit:.2f} of a bare "
            f"application ({limit:,.0f}), CPU {cpu:.2f} s/100k readings"
        )


if __name__ == "__main__":
    main()
