"""ingest-opcua: an asyncua server with 900 nodes of 300 devices, read by our listener and by a bare asyncua subscription.

First every node changes as fast as the server can change it, within the queue of 100 values that each node has; then the nodes change
at a steady rate while a probe's changes are timed until the database has them. Publishing interval 100 ms, rules on 10 % of the series.
`make bench NAME=ingest-opcua`; IIOT_BENCH_ROUNDS repeats.
"""

import json
import os
import random
import socket
import statistics
import sys
import time
from datetime import timedelta

from tests.benchmarks.plant import METRICS, clear_readings, count_in_ledger, count_readings, cpu_by_process, make_plant, process

from django.db import connection  # isort: skip
from django_tenants.utils import tenant_context  # isort: skip

from connections.opcua_models import OpcUaNode, OpcUaServer
from devices.models import Device
from tenants.models import Tenant
from tests.benchmarks.opcua_plant import FIRST_NODE, NAMESPACE, PUBLISHING_SECONDS, BenchPlant

DEVICES = 300
NODES = 1 + DEVICES * len(METRICS)  # one is the probe
CHANGES = 50  # of every node
PROBES = 60
PROBE_PAUSE_SECONDS = (0.1, 0.3)
STEADY_RATE = 1_000.0
LIMIT_SECONDS = 300.0
ROUNDS = int(os.environ.get("IIOT_BENCH_ROUNDS", "3"))
READY = f"{os.environ.get('IIOT_DATA_DIR', 'var')}/bench-opcua.ready"
TOTAL = NODES + CHANGES * (NODES - 1)
PROBE_SQL = (
    "SELECT l.value FROM telemetry_latestreading l JOIN devices_device d ON d.id = l.device_id"
    " JOIN devices_metric m ON m.id = l.metric_id WHERE d.key = 'probe' AND m.key = 'temperature'"
)
WORKER = ("-m", "celery", "-A", "iiot_site", "worker", "-Q", "default,rules,alerting", "--concurrency", "2", "--loglevel", "ERROR")
# What the listener may call and what else it would serve.
LISTENER_ENV = {"IIOT_PLANT_NETWORKS": "127.0.0.0/8", "IIOT_OPCUA_PORT": "0"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def map_nodes(tenant: Tenant, url: str) -> None:
    """Map node 0 to the probe, the others to the metrics of the devices."""
    with tenant_context(tenant):
        OpcUaServer.objects.all().delete()
        server = OpcUaServer(name="bench", endpoint_url=url, security="none", publishing_interval=timedelta(seconds=PUBLISHING_SECONDS))
        server.save()
        devices = list(Device.objects.filter(key__startswith="dev").order_by("id")[:DEVICES])
        probe, _ = Device.objects.get_or_create(key="probe", defaults={"name": "probe", "device_type": devices[-1].device_type})
        targets = [(probe, METRICS[0]), *((device, metric) for device in devices for metric in METRICS)]
        OpcUaNode.objects.bulk_create(
            OpcUaNode(server=server, node_id=f"nsu={NAMESPACE};i={FIRST_NODE + number}", device=device, metric=metric)
            for number, (device, metric) in enumerate(targets)
        )


def run_reference(plant: BenchPlant) -> tuple[float, float, list[float]]:
    """Return changes per second, CPU seconds per 100,000, and latencies of the bare subscription."""
    arguments = ("-m", "tests.benchmarks.opcua_plant", plant.url, str(NODES), str(CHANGES * (NODES - 1)), str(PROBES))
    with process(*arguments, ready=READY) as reader:
        assert reader.stdout is not None
        before, started = cpu_by_process(), time.perf_counter()
        plant.change_all(CHANGES)
        assert reader.stdout.readline() == "all\n"
        seconds, cpu = time.perf_counter() - started, _cpu_since(before)
        plant.change_steadily(per_second=STEADY_RATE, seconds=PROBES * statistics.mean(PROBE_PAUSE_SECONDS))
        for number in range(1, PROBES + 1):
            plant.change_probe(number)
            time.sleep(random.uniform(*PROBE_PAUSE_SECONDS))
        latencies = json.loads(reader.stdout.readline())
    return CHANGES * (NODES - 1) / seconds, cpu, latencies


def run_platform(plant: BenchPlant, tenant: Tenant) -> tuple[float, float, list[float]]:
    """Return the same of the platform."""
    clear_readings([tenant])
    map_nodes(tenant, plant.url)
    with process("manage.py", "listen", "opcua", ready=READY, env=LISTENER_ENV):
        _wait_for(tenant, NODES)
        before, started = cpu_by_process(), time.perf_counter()
        plant.change_all(CHANGES)
        _wait_for(tenant, TOTAL)
        seconds, cpu = time.perf_counter() - started, _cpu_since(before)
        assert count_readings([tenant]) == TOTAL, "something was read and is not there"
        plant.change_steadily(per_second=STEADY_RATE, seconds=PROBES * statistics.mean(PROBE_PAUSE_SECONDS))
        with tenant_context(tenant):
            latencies = [_time_probe(plant, number) for number in range(1, PROBES + 1)]
    return CHANGES * (NODES - 1) / seconds, cpu, latencies


def _time_probe(plant: BenchPlant, number: int) -> float:
    began = time.perf_counter()
    plant.change_probe(number)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(PROBE_SQL)
            [value] = cursor.fetchone()
            waited = time.perf_counter() - began
            if value == number:
                break
            if waited > LIMIT_SECONDS:
                sys.exit(f"change {number} of the probe was not stored")
            time.sleep(0.003)
    time.sleep(random.uniform(*PROBE_PAUSE_SECONDS))
    return waited


def _wait_for(tenant: Tenant, readings: int) -> None:
    started = time.perf_counter()
    while (found := count_in_ledger([tenant])[1]) < readings:
        time.sleep(0.05)
        if time.perf_counter() - started > LIMIT_SECONDS:
            sys.exit(f"only {found} of {readings} readings arrived within {LIMIT_SECONDS:.0f} s")


def _cpu_since(before: dict[str, float]) -> float:
    """Return CPU seconds per 100,000 changes, of all processes but this one, which has the plant's server in it."""
    used = {name: (spent - before.get(name, 0.0)) / (CHANGES * (NODES - 1)) * 100_000 for name, spent in cpu_by_process().items()}
    print("ingest-opcua: CPU s/100k readings: " + ", ".join(f"{name} {cpu:.2f}" for name, cpu in sorted(used.items())))
    return sum(used.values())


def _quantiles(latencies: list[float]) -> tuple[float, float]:
    ordered = sorted(latencies)
    return statistics.median(ordered) * 1000, ordered[int(len(ordered) * 0.99)] * 1000


def main() -> None:
    """Print the medians of three runs, the latencies of all of them."""
    [tenant] = make_plant(["bench-opcua"], devices=DEVICES)
    figures, ours, theirs = [], [], []
    with process(*WORKER):
        for _ in range(ROUNDS):
            plant = BenchPlant(port=free_port(), nodes=NODES)
            limit, limit_cpu, bare = run_reference(plant)
            plant.close()
            plant = BenchPlant(port=free_port(), nodes=NODES)
            figure, cpu, latencies = run_platform(plant, tenant)
            plant.close()
            figures.append((figure, cpu, limit, limit_cpu))
            ours += latencies
            theirs += bare
    figure, cpu, limit, limit_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    (p50, p99), (bare_p50, bare_p99) = _quantiles(ours), _quantiles(theirs)
    print(
        f"ingest-opcua: {figure:,.0f} readings/s ratio={figure / limit:.2f} of a bare asyncua subscription ({limit:,.0f}), "
        f"CPU {cpu:.2f} s/100k readings ({limit_cpu:.2f}); change to stored p50 {p50:.0f} ms, p99 {p99:.0f} ms "
        f"(bare, to the callback: {bare_p50:.0f}, {bare_p99:.0f}) with a publishing interval of {PUBLISHING_SECONDS * 1000:.0f} ms "
        f"and {STEADY_RATE:,.0f} changes/s beside; 0 lost"
    )


if __name__ == "__main__":
    main()
