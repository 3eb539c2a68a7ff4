"""Health: is this process alive, and does everything it needs answer? Open to everybody, so it names no hosts.

Each check has two seconds; all run side by side, and their result is kept for one second, so that asking costs nothing.
"""

import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Condition
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg
import redis
from cachetools import TTLCache, cached
from django.conf import settings
from django.utils import timezone

from iiot_site.celery import BEAT_KEY
from iiot_site.celery import app as celery_app

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 2.0
HEARTBEAT_WITHIN = timedelta(seconds=20)
State = Literal["ok", "off", "failed"]
TICK_WITHIN_SECONDS = 30.0
WATCH_WITHIN = timedelta(seconds=60)
CLOCK_TOLERANCE = timedelta(seconds=5)
CLOCK_SET_SHOWN = timedelta(hours=24)
# RabbitMQ is up seconds after everything else, and only AMQP devices need it; a wrong clock and a late watch stop nothing.
OPTIONAL = frozenset({"amqp", "watch", "clock", "held"})


@dataclass(frozen=True, slots=True)
class Check:
    """What one dependency answered. `off`: not set up, and the platform does without it."""

    state: State
    detail: str = ""
    ms: int = 0


def connect_directly() -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection of its own: a thread of Django's would stay open, and would wait for ever on a dead host."""
    config = settings.DATABASES["default"]
    return psycopg.connect(
        host=config["HOST"],
        port=config["PORT"] or None,
        user=config["USER"],
        password=config["PASSWORD"] or None,
        dbname=config["NAME"],
        connect_timeout=int(LIMIT_SECONDS),
    )


def check_postgres() -> Check:
    """The database answers a query."""
    with connect_directly() as connection:
        connection.execute("SELECT 1")
    return Check("ok")


def check_redis() -> Check:
    """Cache, queues and live frames."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS) as client:
        client.ping()
    return Check("ok")


def check_mqtt() -> Check:
    """The broker accepts connections."""
    if not settings.MQTT_URL:
        return Check("failed", "No broker is set up. Start the platform with `manage.py up`, or set MQTT_URL.")
    return _reach(settings.MQTT_URL, 1883)


def check_amqp() -> Check:
    """RabbitMQ accepts connections and our listener has one; all of it is optional."""
    if not settings.AMQP_URL:
        return Check("off", "Run `apt-get install rabbitmq-server` and start again, or set AMQP_URL.")
    silent = [state for state, is_well in _list_listeners(is_amqp=True) if not is_well]
    return Check("failed", f"{silent[0]}: AMQP messages wait in the broker.") if silent else _reach(settings.AMQP_URL, 5672)


def _reach(url: str, default_port: int) -> Check:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "localhost", parts.port or default_port), timeout=LIMIT_SECONDS):
        return Check("ok")


def check_worker() -> Check:
    """Some Celery worker answers."""
    if celery_app.control.ping(timeout=LIMIT_SECONDS / 2, limit=1):
        return Check("ok")
    return Check("failed", "No worker answers: rules and tenant creation wait. Look at worker.log.")


def check_beat() -> Check:
    """Celery's beat sends what is due; the shortest of its periods is 5 s."""
    with redis.Redis.from_url(f"{settings.REDIS_URL}/0", socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS) as client:
        ticked: Any = client.get(BEAT_KEY)
    if ticked is None or time.time() - float(ticked) > TICK_WITHIN_SECONDS:
        return Check("failed", "Nothing periodic happens: roll-ups, silent devices, commands that expire. Look at beat.log.")
    return Check("ok")


def check_listeners() -> Check:
    """Every listener that was started reports itself as connected; that of AMQP counts with its broker."""
    listeners = _list_listeners(is_amqp=False)
    if not listeners:
        return Check("failed", "No listener runs: MQTT messages wait in the broker. Look at listen-mqtt.log.")
    silent = [state for state, is_well in listeners if not is_well]
    if silent:
        return Check("failed", ", ".join(silent))
    connected = listeners + [(state, is_well) for state, is_well in _list_listeners(is_amqp=True) if is_well]
    return Check("ok", ", ".join(sorted(state.removesuffix(" is connected") for state, _ in connected)))


def _list_listeners(*, is_amqp: bool) -> list[tuple[str, bool]]:
    """Return in words how the processes of each listener that was started are, and whether one of them takes messages in."""
    with connect_directly() as connection:
        rows = connection.execute(
            "SELECT name, state, clock_timestamp() - heartbeat_at FROM protocols_listenerstate"
            " WHERE state <> 'stopped' AND (name = 'amqp') = %s ORDER BY name, number",
            [is_amqp],
        ).fetchall()
    states: dict[str, list[str]] = {}
    for name, state, age in rows:
        states.setdefault(name, []).append(state if age <= HEARTBEAT_WITHIN else "silent")
    return [(f"{name} is {' and '.join(sorted(set(known)))}", "connected" in known) for name, known in states.items()]


def check_watch() -> Check:
    """The watch over silent devices runs."""
    with connect_directly() as connection:
        row = connection.execute("SELECT clock_timestamp() - beat_at FROM protocols_platformpulse").fetchone()
    if row is None or row[0] > WATCH_WITHIN:
        return Check("failed", "Silent devices are not noticed now. Look at beat.log and worker.log.")
    return Check("ok")


def check_clock() -> Check:
    """This host, the listeners' hosts and the database agree on the time, and nobody set a clock."""
    with connect_directly() as connection:
        before = timezone.now()
        there = connection.execute("SELECT clock_timestamp()").fetchone()
        offsets = connection.execute("SELECT name, clock_offset_seconds FROM protocols_listenerstate WHERE state <> 'stopped'").fetchall()
        since = "SELECT clock_set_at, clock_set_seconds FROM protocols_platformpulse WHERE clock_set_at > clock_timestamp() - %s"
        jump = connection.execute(since, [CLOCK_SET_SHOWN]).fetchone()
    own = [("web", (there[0] - before).total_seconds())] if there else []
    wrong = [f"{name} {-offset:+.0f} s" for name, offset in own + offsets if abs(offset) > CLOCK_TOLERANCE.total_seconds()]
    if wrong:
        return Check("failed", f"Clocks differ from the database's: {', '.join(wrong)}. Let all hosts keep time by NTP.")
    if jump is not None:
        return Check("ok", f"The clock was set by {jump[1]:+.0f} s, or the machine slept, at {jump[0]:%Y-%m-%d %H:%M:%S} UTC.")
    return Check("ok")


def check_held() -> Check:
    """Every tenant's tables take what its devices send. Whose it is stands in the administration: anybody may ask here."""
    with connect_directly() as connection:
        row = connection.execute("SELECT count(*), coalesce(sum(messages), 0)::bigint, min(since) FROM protocols_heldbacklog").fetchone()
    if row is None or not row[0]:
        return Check("ok")
    count, messages, since = row
    return Check(
        "failed",
        f"{messages} messages are held, since {since:%Y-%m-%d %H:%M:%S} UTC: tables of {count} organisations fail."
        " See Held backlogs in the administration.",
    )


CHECKS: dict[str, Callable[[], Check]] = {
    "postgres": check_postgres,
    "redis": check_redis,
    "mqtt": check_mqtt,
    "amqp": check_amqp,
    "worker": check_worker,
    "beat": check_beat,
    "listeners": check_listeners,
    "watch": check_watch,
    "clock": check_clock,
    "held": check_held,
}
_threads = ThreadPoolExecutor(max_workers=2 * len(CHECKS), thread_name_prefix="health")


@cached(TTLCache(maxsize=1, ttl=1), key=lambda: "all", condition=Condition())  # many callers wait for one run
def run_checks() -> dict[str, Check]:
    """Run all checks side by side; what does not answer in time has failed."""
    pending = {name: _threads.submit(_run, name, check) for name, check in CHECKS.items()}
    deadline = time.monotonic() + LIMIT_SECONDS
    return {name: _collect(future, deadline) for name, future in pending.items()}


def _run(name: str, check: Callable[[], Check]) -> Check:
    start = time.monotonic()
    try:
        result = check()
    except Exception as exc:  # noqa: BLE001 - whatever a check raises, its dependency has failed
        logger.warning("health check %s: %s", name, exc)  # the words may name hosts, so they stay in the log
        result = Check("failed", "Does not answer. The reason is in the log of the web process.")
    return replace(result, ms=round((time.monotonic() - start) * 1000))


def _collect(future: "Future[Check]", deadline: float) -> Check:
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        return Check("failed", f"Did not answer within {LIMIT_SECONDS:.0f} s.", ms=round(LIMIT_SECONDS * 1000))


def describe_health() -> tuple[bool, dict[str, object]]:
    """Return whether all that is needed answers, and the words of the answer."""
    checks = run_checks()
    is_well = all(check.state != "failed" for name, check in checks.items() if name not in OPTIONAL)
    described = {name: {"status": check.state, "detail": check.detail, "ms": check.ms} for name, check in checks.items()}
    return is_well, {"status": "ok" if is_well else "failed", "checks": described}
