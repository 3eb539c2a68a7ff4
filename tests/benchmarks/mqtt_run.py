"""One run of the platform's MQTT ingest under load, counted in the database."""

import os
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.mqtt_load import Load
from tests.benchmarks.plant import clear_readings, count_in_ledger, count_readings, cpu_by_process, make_plant, own_backend_pid, process

VALUES = 3
READY = f"{os.environ.get('IIOT_DATA_DIR', 'var')}/bench-listener.ready"
GIVE_UP_SECONDS = 300
WORKER = ("-m", "celery", "-A", "iiot_site", "worker", "-Q", "default,rules,alerting", "--concurrency", "2", "--loglevel", "ERROR")


def make_load(prefix: str, tenants: Sequence[str], *, devices: int, messages: int, rate: float) -> Load:
    """Return what to send: source times begin an hour ago."""
    return Load(os.environ["MQTT_URL"], prefix, list(tenants), devices, messages, int(time.time() * 1000) - 3_600_000, rate)


def run_platform(slugs: Sequence[str], *, devices: int, messages: int, rate: float) -> tuple[float, float]:
    """Send so many messages from `devices` of each tenant; return readings per second and CPU seconds per 100,000 readings."""
    tenants = make_plant(slugs, devices=devices)
    clear_readings(tenants)
    wanted = messages * VALUES
    with process("manage.py", "listen", "mqtt", ready=READY), process(*WORKER):
        time.sleep(3)
        own = own_backend_pid()
        before, started = cpu_by_process(without=[own]), time.perf_counter()
        load = make_load("t", slugs, devices=devices, messages=messages, rate=rate)
        with process("-m", "tests.benchmarks.mqtt_load", load.to_argument()) as sender:
            while (received := count_in_ledger(tenants)[0]) < wanted:
                time.sleep(0.2)
                if sender.poll() not in {0, None}:
                    sys.exit("the load generator failed")
                if time.perf_counter() - started > GIVE_UP_SECONDS:
                    sys.exit(f"only {received} of {wanted} readings arrived within {GIVE_UP_SECONDS} s")
            seconds = time.perf_counter() - started
            after = cpu_by_process(without=[sender.pid, own])
    per_reading = {name: (spent - before.get(name, 0)) / wanted * 100_000 for name, spent in after.items()}
    print("CPU s/100k readings: " + ", ".join(f"{name} {cpu:.2f}" for name, cpu in sorted(per_reading.items())))
    _, stored, duplicate = count_in_ledger(tenants)
    assert (count_readings(tenants), stored, duplicate) == (wanted, wanted, 0)
    return wanted / seconds, sum(per_reading.values())
