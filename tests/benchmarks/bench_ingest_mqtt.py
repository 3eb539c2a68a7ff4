"""ingest-mqtt: 1,000 devices of two tenants, three values a message, QoS 1, rules on 10 % of the series, counted in the database.

The reference in the same run is `minimal_pipeline`. Run it with `make bench NAME=ingest-mqtt`; IIOT_BENCH_MESSAGES and
IIOT_BENCH_RATE (messages/s, 0 for no limit) change the load.
"""

import os
import statistics
import sys
import time

from tests.benchmarks.mqtt_load import Load
from tests.benchmarks.plant import clear_readings, count_in_ledger, count_readings, cpu_by_process, cpu_seconds, make_plant, process

TENANTS = ["bench-a", "bench-b"]
DEVICES = 500
MESSAGES = int(os.environ.get("IIOT_BENCH_MESSAGES", "100000"))
RATE = float(os.environ.get("IIOT_BENCH_RATE", "0"))
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))
VALUES = 3
READY = f"{os.environ.get('IIOT_DATA_DIR', 'var')}/bench-listener.ready"


def load(prefix: str) -> Load:
    start = int(time.time() * 1000) - 3_600_000
    return Load(os.environ["MQTT_URL"], prefix, TENANTS, DEVICES, MESSAGES, start, RATE)


def run_reference() -> tuple[float, float]:
    """Return readings per second, and CPU seconds per 100,000 readings, of the minimal pipeline."""
    with process("-m", "tests.benchmarks.minimal_pipeline", str(MESSAGES)) as pipeline:
        assert pipeline.stdout is not None
        assert pipeline.stdout.readline() == "ready\n"
        before, started = cpu_seconds(without=[pipeline.pid]), time.perf_counter()
        with process("-m", "tests.benchmarks.mqtt_load", load("ref").to_argument()) as sender:
            sender.wait()
            own = pipeline.stdout.readline()
        seconds = time.perf_counter() - started
        used = cpu_seconds(without=[pipeline.pid]) - before + float(own)
    return MESSAGES * VALUES / seconds, used / (MESSAGES * VALUES) * 100_000


def run_platform() -> tuple[float, float]:
    """Return the same of the platform."""
    tenants = make_plant(TENANTS, devices=DEVICES)
    clear_readings(tenants)
    worker = ("-m", "celery", "-A", "iiot_site", "worker", "-Q", "default,rules,alerting", "--concurrency", "2", "--loglevel", "ERROR")
    with process("manage.py", "listen", "mqtt", ready=READY), process(*worker):
        time.sleep(3)
        before, started = cpu_by_process(), time.perf_counter()
        with process("-m", "tests.benchmarks.mqtt_load", load("t").to_argument()) as sender:
            while count_in_ledger(tenants)[0] < MESSAGES * VALUES:
                time.sleep(0.1)
                if sender.poll() not in {0, None}:
                    sys.exit("the load generator failed")
                if time.perf_counter() - started > 300:
                    sys.exit(f"only {count_in_ledger(tenants)} of {MESSAGES * VALUES} readings arrived within 300 s")
            seconds = time.perf_counter() - started
            after = cpu_by_process(without=[sender.pid])
    per_reading = {name: (spent - before.get(name, 0)) / (MESSAGES * VALUES) * 100_000 for name, spent in after.items()}
    print("ingest-mqtt: CPU s/100k readings: " + ", ".join(f"{name} {cpu:.2f}" for name, cpu in sorted(per_reading.items())))
    _, stored, duplicate = count_in_ledger(tenants)
    assert (count_readings(tenants), stored, duplicate) == (MESSAGES * VALUES, MESSAGES * VALUES, 0)
    return MESSAGES * VALUES / seconds, sum(per_reading.values())


def main() -> None:
    """Print the median of three runs."""
    figures = []
    for _ in range(ROUNDS):
        reference, reference_cpu = run_reference()
        figure, cpu = run_platform()
        print(f"ingest-mqtt: platform {figure:,.0f} readings/s, CPU {cpu:.2f}; minimal pipeline {reference:,.0f}, CPU {reference_cpu:.2f}")
        figures.append((figure, cpu, reference, reference_cpu))
    figure, cpu, reference, reference_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"ingest-mqtt {figure:,.0f} readings/s ratio={figure / reference:.2f} of the minimal pipeline ({reference:,.0f}), "
        f"CPU {cpu:.2f} s/100k readings ({reference_cpu:.2f}), lost 0"
    )


if __name__ == "__main__":
    main()
