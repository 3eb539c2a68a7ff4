"""One run of the platform's MQTT ingest under load, counted in the database."""

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.benchmarks.mqtt_load import Load
from tests.benchmarks.plant import (
    clear_readings,
    count_in_ledger,
    count_readings,
    cpu_by_process,
    cpu_seconds,
    make_plant,
    own_backend_pid,
    process,
)

if TYPE_CHECKING:  # plant sets Django up before models may be imported
    from tenants.models import Tenant

VALUES = 3
READY = f"{os.environ.get('IIOT_DATA_DIR', 'var')}/bench-listener.ready"
GIVE_UP_SECONDS = 300
WORKER = ("-m", "celery", "-A", "iiot_site", "worker", "-Q", "default,rules,alerting", "--concurrency", "2", "--loglevel", "ERROR")


def make_load(prefix: str, tenants: Sequence[str], *, devices: int, messages: int, rate: float, hours_ago: int = 1) -> Load:
    """Return what to send: source times begin an hour ago."""
    start_ms = int(time.time() * 1000) - hours_ago * 3_600_000
    return Load(os.environ["MQTT_URL"], prefix, list(tenants), devices, messages, start_ms, rate)


def run_platform(slugs: Sequence[str], *, devices: int, messages: int, rate: float, warm_up: int = 0) -> tuple[float, float]:
    """Send so many messages from `devices` of each tenant; return readings per second and CPU seconds per 100,000 readings.

    `warm_up` messages go before, and what they cost is told apart: looking up, planning and rules' first states come once.
    """
    tenants = make_plant(slugs, devices=devices)
    clear_readings(tenants)
    with process("manage.py", "listen", "mqtt", ready=READY), process(*WORKER):
        time.sleep(3)
        if warm_up:
            _send(tenants, make_load("t", slugs, devices=devices, messages=warm_up, rate=rate, hours_ago=2), before=0, name="warm-up, ")
            _wait_until_idle()
        load = make_load("t", slugs, devices=devices, messages=messages, rate=rate)
        figures = _send(tenants, load, before=warm_up * VALUES)
    _, stored, duplicate = count_in_ledger(tenants)
    wanted = (warm_up + messages) * VALUES
    assert (count_readings(tenants), stored, duplicate) == (wanted, wanted, 0)
    return figures


def _wait_until_idle() -> None:
    """Wait until the platform's processes have worked off what follows a commit: less than a tenth of a core for two seconds."""
    used, give_up_at = cpu_seconds(), time.perf_counter() + GIVE_UP_SECONDS
    while time.perf_counter() < give_up_at:
        time.sleep(2)
        before, used = used, cpu_seconds()
        if used - before < 0.2:
            return


def _send(tenants: Sequence["Tenant"], load: Load, *, before: int, name: str = "") -> tuple[float, float]:
    """Send a load and wait until it is stored; return readings per second and CPU seconds per 100,000 readings."""
    wanted = load.messages * VALUES
    own = own_backend_pid()
    spent_before, started = cpu_by_process(without=[own]), time.perf_counter()
    with process("-m", "tests.benchmarks.mqtt_load", load.to_argument()) as sender:
        while (received := count_in_ledger(tenants)[0] - before) < wanted:
            time.sleep(0.2)
            if sender.poll() not in {0, None}:
                sys.exit("the load generator failed")
            if time.perf_counter() - started > GIVE_UP_SECONDS:
                sys.exit(f"only {received} of {wanted} readings arrived within {GIVE_UP_SECONDS} s")
        seconds = time.perf_counter() - started
        spent = cpu_by_process(without=[sender.pid, own])
    per_reading = {part: (cpu - spent_before.get(part, 0)) / wanted * 100_000 for part, cpu in spent.items()}
    print(f"{name}CPU s/100k readings: " + ", ".join(f"{part} {cpu:.2f}" for part, cpu in sorted(per_reading.items())))
    return wanted / seconds, sum(per_reading.values())
