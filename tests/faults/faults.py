"""The faults, by their numbers in the design's list (reliability). Each breaks something under load and returns a verdict."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import psycopg
import redis

from tests.faults.clocks import shift_device_clocks, shift_host_clock
from tests.faults.latency import measure_latencies
from tests.faults.opcua import break_opcua
from tests.faults.run import Run, Verdict
from tests.faults.senders import HttpSender, MqttSender
from tests.platform import launch_process, wait_until_up
from tests.waiting import wait_until

AWAY_SECONDS = float(os.environ.get("IIOT_FAULT_AWAY_SECONDS", "60"))
EXIT_SECONDS = 30.0
RABBITMQ_SECONDS = 30.0
FLOOD_FACTOR = 100
TROUBLE_SECONDS = 12.0
POISON = (
    b"{",
    b"\xff\xfe",
    b'{"a": 1e999}',
    b"[" * 500,
    b'{"a": "\\u0000"}',
    b"",
    b'{"a": 1, "a": 2}',
    b'{"' + b"x" * 5000 + b'": 1}',
)


def kill_process(name: str) -> Callable[[Run], Verdict]:
    """1: kill -9 of a process in mid-load."""

    def run(run: Run) -> Verdict:
        return run.under_load(lambda: run.kill(name))

    return run


def kill_supervisor(run: Run) -> Verdict:
    """1: kill -9 of the supervisor; what it started ends with it, a new start goes on. The seconds count from the kill."""
    platform = run.platform

    def kill_and_start() -> str:
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait()
        platform.process = launch_process(platform.folder, port=int(platform.demo["http"].rpartition(":")[2]), fast=False)
        return "SIGKILL to the supervisor, started again at once"

    verdict = run.under_load(kill_and_start, untimed=False, amqp_seconds=RABBITMQ_SECONDS)
    wait_until_up(platform.process, platform.folder)
    return verdict


def restart_database(run: Run) -> Verdict:
    """2: PostgreSQL restarted by SIGINT (fast shutdown)."""
    return run.under_load(lambda: run.kill("postgres", signal.SIGINT))


def kill_database(run: Run) -> Verdict:
    """2: PostgreSQL killed."""
    return run.under_load(lambda: run.kill("postgres"))


def lose_database(run: Run) -> Verdict:
    """2: PostgreSQL away for a minute."""
    return run.under_load(lambda: run.keep_away("postgres", AWAY_SECONDS))


def lose_table(run: Run) -> Verdict:
    """2: a tenant's table is gone for a while, as after a migration that went wrong; the other tenant's devices are served on."""
    return _trouble_tenant(run, _with_table_gone)


def lock_table(run: Run) -> Verdict:
    """2: somebody locks a tenant's table for a while; the other tenant's devices are served on."""
    return _trouble_tenant(run, _with_table_locked)


def _trouble_tenant(run: Run, trouble: Callable[[Run], AbstractContextManager[object]]) -> Verdict:
    calm = _p95(measure_latencies(run.platform, tenant="globex", seconds=5))
    busy: list[float] = []

    def break_it() -> str:
        with trouble(run):
            busy.extend(measure_latencies(run.platform, tenant="globex", seconds=TROUBLE_SECONDS))
        return f"a table of one tenant out of use for {TROUBLE_SECONDS:.0f} s"

    verdict = run.under_load(break_it)
    meanwhile = sorted(busy)[len(busy) // 2]
    fault = verdict.fault or ("" if meanwhile <= max(2 * calm, 0.3) else "the other tenant waits more than twice as long")
    left = run.platform.query("SELECT coalesce(sum(messages), 0)::bigint FROM protocols_heldbacklog")[0][0]
    fault = fault or (f"{left} messages are still held" if left else "")
    waits = f"another tenant: p95 {calm * 1000:.0f} ms before; meanwhile p50 {meanwhile * 1000:.0f}, longest {max(busy) * 1000:.0f} ms"
    return replace(verdict, remark=f"{verdict.remark}; {waits}", fault=fault)


@contextmanager
def _with_table_gone(run: Run) -> Iterator[None]:
    with psycopg.connect(run.platform.database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE t_acme.telemetry_reading RENAME TO reading_away")
        yield
        connection.execute("ALTER TABLE t_acme.reading_away RENAME TO telemetry_reading")


@contextmanager
def _with_table_locked(run: Run) -> Iterator[None]:
    with psycopg.connect(run.platform.database_url) as connection:
        connection.execute("LOCK TABLE t_acme.telemetry_reading IN ACCESS EXCLUSIVE MODE")
        yield


def flush_redis(run: Run) -> Verdict:
    """3: Redis emptied."""

    def flush() -> str:
        url = json.loads((run.platform.folder / "run" / "servers.json").read_text())["REDIS_URL"]
        with redis.Redis.from_url(url) as client:
            client.flushall()
        return "Redis emptied"

    return run.under_load(flush)


def lose_redis(run: Run) -> Verdict:
    """3: Redis away for a minute; ingest goes on meanwhile."""
    return run.under_load(lambda: run.keep_away("redis", AWAY_SECONDS))


def restart_broker(run: Run) -> Verdict:
    """4: the MQTT broker restarted; what it had confirmed is kept. A device may have to send a message again, with its time."""
    return run.under_load(lambda: run.kill("mqtt", signal.SIGTERM), untimed=False)


def restart_rabbitmq(run: Run) -> Verdict:
    """4: RabbitMQ killed; it needs seconds to come up, and what it had confirmed lies in a quorum queue."""
    if not run.has_amqp:
        return Verdict(run.count_stored([]), "RabbitMQ is not installed")
    return run.under_load(lambda: run.kill("amqp"), untimed=False, amqp_seconds=RABBITMQ_SECONDS)


def kill_amqp_listener(run: Run) -> Verdict:
    """1: kill -9 of the AMQP listener."""
    if not run.has_amqp:
        return Verdict(run.count_stored([]), "RabbitMQ is not installed")
    return run.under_load(lambda: run.kill("listen-amqp"))


def send_poison(run: Run) -> Verdict:
    """6: messages that cannot be read among the good ones, and one device at a hundred times its rate."""
    calm = measure_latencies(run.platform, seconds=8)
    poison = Poison(run.platform, "tank-1", metric="poison", rate=50)
    flood = MqttSender(run.platform, "tank-2", metric=f"flood_{int(time.time())}", rate=FLOOD_FACTOR * 20, is_timed=False)
    busy: list[float] = []

    def start() -> str:
        poison.start()
        flood.start()
        busy.extend(measure_latencies(run.platform, seconds=8))
        return "poison and a flood"

    def stop() -> None:
        for sender in (poison, flood):
            sender.finish()

    verdict = run.under_load(start, mend=stop)
    before, after = _p95(calm), _p95(busy)
    kept = run.platform.query("SELECT count(*) FROM t_acme.telemetry_rejectedmessage WHERE source LIKE %s", "%/tank-1/%")[0][0]
    fault = verdict.fault or ("" if after <= max(2 * before, 0.3) else "other devices wait more than twice as long")
    waits = f"p95 of another device {before * 1000:.0f} ms before, {after * 1000:.0f} ms meanwhile"
    limited = run.platform.query("SELECT sum((rejected_by_reason->>'rate_limited')::bigint) FROM t_acme.telemetry_ingestledger")[0][0]
    waits += f"; {limited or 0:,} messages of the flood cut off"
    fault = fault or ("" if limited else "the flood was not limited")
    fault = fault or ("" if kept else "no poison message was kept")
    return replace(verdict, remark=f"{verdict.remark}; {waits}", fault=fault)


class Poison(MqttSender):
    """Sends what cannot be read."""

    def message(self, number: int) -> bytes:
        return POISON[number % len(POISON)]


def _p95(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.95)]


def send_out_of_order(run: Run) -> Verdict:
    """7: late, repeated, out of order, too old and future readings; the latest value is the one with the newest source time."""
    sender = HttpSender(run.platform, "pump-1", metric=f"order_{int(time.time())}", rate=100)
    now = int(time.time() * 1000)
    for number in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3):  # several twice
        sender.log.sent.add(number)
        body = {"ts": now - 60_000 + number * 1000, "values": {sender.metric: number}}
        answer = run.platform.call("POST", "/telemetry", body, token=sender.entry["token"])
        assert answer["rejected"] == []
        sender.log.acknowledged.add(number)
    refused = []
    for ts in (now - 40 * 86_400_000, now + 3_600_000):
        answer = run.platform.call("POST", "/telemetry", [{"ts": ts, "values": {sender.metric: 77}}], token=sender.entry["token"])
        refused += [rejection["reason"] for rejection in answer["rejected"]]
    token = run.platform.log_in("viewer")
    latest = run.platform.call("GET", f"/devices/{sender.entry['id']}/latest", token=token)["results"]
    value = next(entry["value"] for entry in latest if entry["metric"] == sender.metric)
    fault = "" if value == 9 else f"the latest value is {value}, not that of the newest source time"
    fault = fault or ("" if refused == ["too_old", "in_future"] else f"refused as {refused}")
    return Verdict(run.count_stored([sender]), f"latest value {value:.0f}, refused {', '.join(refused)}", fault)


def stop_gently(run: Run) -> Verdict:
    """14: SIGTERM to web, worker and listener under load: batches drained, exit 0 within 30 s."""
    names = ("web", "worker", "listen-mqtt", *(("listen-amqp",) if run.has_amqp else ()))
    ends: dict[str, str] = {}

    def stop() -> str:
        for name in names:
            run.kill(name, signal.SIGTERM)
        began = time.monotonic()
        wait_until(lambda: all(run.exit_of(name) for name in names), seconds=EXIT_SECONDS)
        ends.update({name: run.exit_of(name) for name in names})
        return f"SIGTERM, all ended within {time.monotonic() - began:.1f} s: " + ", ".join(f"{name} {how}" for name, how in ends.items())

    verdict = run.under_load(stop)
    wrong = [name for name, how in ends.items() if how != "exit code 0"]
    fault = verdict.fault or (f"not exit 0: {', '.join(wrong)}" if wrong else "")
    return replace(verdict, fault=fault or (f"{verdict.server_errors} answers of 5xx" if verdict.server_errors else ""))


FAULTS: dict[str, Callable[[Run], Verdict]] = {
    "14-sigterm": stop_gently,
    "1-listener": kill_process("listen-mqtt"),
    "1-amqp-listener": kill_amqp_listener,
    "1-worker": kill_process("worker"),
    "1-web": kill_process("web"),
    "1-beat": kill_process("beat"),
    "1-loader": kill_process("loader"),
    "1-supervisor": kill_supervisor,
    "2-database-restarted": restart_database,
    "2-database-killed": kill_database,
    "2-database-away": lose_database,
    "2-table-gone": lose_table,
    "2-table-locked": lock_table,
    "3-redis-emptied": flush_redis,
    "3-redis-away": lose_redis,
    "4-broker-restarted": restart_broker,
    "4-rabbitmq-killed": restart_rabbitmq,
    "5-opcua": break_opcua,
    "6-poison-and-flood": send_poison,
    "7-out-of-order": send_out_of_order,
    "13-device-clocks": shift_device_clocks,
    "13-host-clock": shift_host_clock,
}
