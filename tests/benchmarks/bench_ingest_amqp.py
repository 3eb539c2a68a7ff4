"""ingest-amqp: a full queue of 1,000 devices' messages, three values each, read by our listener and by bare pika.

Both read the same queue of the same RabbitMQ, so what is measured is the reader. Run it with
`make bench NAME=ingest-amqp`; IIOT_BENCH_MESSAGES changes the load.
"""

import json
import os
import signal
import statistics
import sys
import time

import pika

from protocols.amqp.topology import declare_topology
from tests.benchmarks.plant import clear_readings, count_in_ledger, count_readings, cpu_by_process, cpu_seconds, make_plant, process

TENANTS = ["bench-a", "bench-b"]
DEVICES = 500
VALUES = 3
PREFETCH = 8_000  # what the stopped reader may have been sent already
MESSAGES = int(os.environ.get("IIOT_BENCH_MESSAGES", "200000"))  # with fewer the first seconds of a listener are measured
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))
READY = f"{os.environ.get('IIOT_DATA_DIR', 'var')}/bench-listener.ready"
LIMIT_SECONDS = 300


def fill_queue() -> None:
    """Publish all messages and wait until they lie in the queue."""
    start = int(time.time() * 1000) - 3_600_000
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        declare_topology(channel)
        kind = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        for number in range(MESSAGES):
            device, second = number % (DEVICES * len(TENANTS)), number // (DEVICES * len(TENANTS))
            key = f"{TENANTS[device % len(TENANTS)]}.dev{device // len(TENANTS)}.telemetry"
            values = {"temperature": 20 + number % 97 / 10, "pressure": 3.5, "vibration": number % 13 / 10}
            channel.basic_publish("iiot.telemetry", key, json.dumps({"ts": start + second * 1000, "values": values}), kind)
        while channel.queue_declare("iiot.telemetry", passive=True).method.message_count < MESSAGES - PREFETCH:
            time.sleep(0.1)


def run_reference() -> tuple[float, float]:
    """Return messages per second, and CPU seconds per 100,000 readings, of bare pika."""
    with process("-m", "tests.benchmarks.amqp_reader", str(MESSAGES), ready=READY) as reader:
        assert reader.stdout is not None
        reader.send_signal(signal.SIGSTOP)
        fill_queue()
        before = cpu_seconds()
        reader.send_signal(signal.SIGCONT)
        seconds = float(reader.stdout.readline())
        used = cpu_seconds() - before
    return MESSAGES / seconds, used / (MESSAGES * VALUES) * 100_000


def run_platform() -> tuple[float, float]:
    """Return the same of the platform."""
    tenants = make_plant(TENANTS, devices=DEVICES)
    clear_readings(tenants)
    worker = ("-m", "celery", "-A", "iiot_site", "worker", "-Q", "default,rules,alerting", "--concurrency", "2", "--loglevel", "ERROR")
    with process(*worker), process("manage.py", "listen", "amqp", ready=READY) as listener:
        listener.send_signal(signal.SIGSTOP)  # it waits, with all it has to load loaded, until the queue is full
        fill_queue()
        before, started = cpu_by_process(), time.perf_counter()
        listener.send_signal(signal.SIGCONT)
        while count_in_ledger(tenants)[0] < MESSAGES * VALUES:
            time.sleep(0.1)
            if time.perf_counter() - started > LIMIT_SECONDS:
                sys.exit(f"only {count_in_ledger(tenants)} of {MESSAGES * VALUES} readings arrived within {LIMIT_SECONDS} s")
        seconds = time.perf_counter() - started
        after = cpu_by_process()
    per_reading = {name: (spent - before.get(name, 0)) / (MESSAGES * VALUES) * 100_000 for name, spent in after.items()}
    print("ingest-amqp: CPU s/100k readings: " + ", ".join(f"{name} {cpu:.2f}" for name, cpu in sorted(per_reading.items())))
    _, stored, duplicate = count_in_ledger(tenants)
    assert (count_readings(tenants), stored, duplicate) == (MESSAGES * VALUES, MESSAGES * VALUES, 0)
    return MESSAGES / seconds, sum(per_reading.values())


def main() -> None:
    """Print the median of three runs."""
    if not os.environ.get("AMQP_URL"):
        print("ingest-amqp: skipped, RabbitMQ is not installed")
        return
    figures = []
    for _ in range(ROUNDS):
        reference, reference_cpu = run_reference()
        figure, cpu = run_platform()
        print(f"ingest-amqp: platform {figure:,.0f} messages/s, CPU {cpu:.2f}; bare pika {reference:,.0f}, CPU {reference_cpu:.2f}")
        figures.append((figure, cpu, reference, reference_cpu))
    figure, cpu, reference, reference_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"ingest-amqp {figure:,.0f} messages/s, {figure * VALUES:,.0f} readings/s, ratio={figure / reference:.2f} of bare pika "
        f"({reference:,.0f} messages/s), CPU {cpu:.2f} s/100k readings ({reference_cpu:.2f}), lost 0"
    )


if __name__ == "__main__":
    main()
