"""ingest-mqtt: 1,000 devices of two tenants, three values a message, QoS 1, rules on 10 % of the series, counted in the database.

The reference in the same run is `minimal_pipeline`. Run it with `make bench NAME=ingest-mqtt`; IIOT_BENCH_MESSAGES and
IIOT_BENCH_RATE (messages/s, 0 for no limit) change the load.
"""

import os
import statistics
import time

from tests.benchmarks.mqtt_run import VALUES, make_load, run_platform
from tests.benchmarks.plant import cpu_seconds, process

TENANTS = ["bench-a", "bench-b"]
DEVICES = 500
MESSAGES = int(os.environ.get("IIOT_BENCH_MESSAGES", "100000"))
RATE = float(os.environ.get("IIOT_BENCH_RATE", "0"))
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))


def run_reference() -> tuple[float, float]:
    """Return readings per second, and CPU seconds per 100,000 readings, of the minimal pipeline."""
    with process("-m", "tests.benchmarks.minimal_pipeline", str(MESSAGES)) as pipeline:
        assert pipeline.stdout is not None
        assert pipeline.stdout.readline() == "ready\n"
        before, started = cpu_seconds(without=[pipeline.pid]), time.perf_counter()
        with process(
            "-m", "tests.benchmarks.mqtt_load", make_load("ref", TENANTS, devices=DEVICES, messages=MESSAGES, rate=RATE).to_argument()
        ) as sender:
            sender.wait()
            own = pipeline.stdout.readline()
        seconds = time.perf_counter() - started
        used = cpu_seconds(without=[pipeline.pid]) - before + float(own)
    return MESSAGES * VALUES / seconds, used / (MESSAGES * VALUES) * 100_000


def main() -> None:
    """Print the median of three runs."""
    figures = []
    for _ in range(ROUNDS):
        reference, reference_cpu = run_reference()
        figure, cpu = run_platform(TENANTS, devices=DEVICES, messages=MESSAGES, rate=RATE)
        print(f"ingest-mqtt: platform {figure:,.0f} readings/s, CPU {cpu:.2f}; minimal pipeline {reference:,.0f}, CPU {reference_cpu:.2f}")
        figures.append((figure, cpu, reference, reference_cpu))
    figure, cpu, reference, reference_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"ingest-mqtt {figure:,.0f} readings/s ratio={figure / reference:.2f} of the minimal pipeline ({reference:,.0f}), "
        f"CPU {cpu:.2f} s/100k readings ({reference_cpu:.2f}), lost 0"
    )


if __name__ == "__main__":
    main()
