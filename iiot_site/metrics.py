"""What Prometheus scrapes. Values are read from the database and Redis when asked, so any web process gives the same answer.

Without tenants' labels unless asked for: what each tenant sends is its own business and that of who runs the platform.
Every source has a short limit and stands alone: where one is away its metrics are missing and `iiot_up` says so.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg
import redis
from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector as PythonCollector
from prometheus_client.process_collector import ProcessCollector
from psycopg import sql

from iiot_site.health import connect_directly

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 2.0
CELERY_DATABASE = 2
OUTCOMES = ("received", "stored", "duplicate", "rejected")

_LISTENERS_SQL = """
SELECT name, number::text, state, extract(epoch FROM now() - heartbeat_at)::float8, extract(epoch FROM started_at)::float8, restarts,
    messages, rejected, bytes, latency_p50_ms, latency_p99_ms, buffer_length, buffer_fill, connections, cache_hits, cache_misses
FROM protocols_listenerstate ORDER BY name, number
"""
_LEDGER_SQL = """
SELECT {slug}, listener, sum(received)::bigint, sum(stored)::bigint, sum(duplicate)::bigint, sum(rejected)::bigint, sum(messages)::bigint
FROM {table} WHERE minute >= date_trunc('day', now(), 'UTC') GROUP BY listener
"""
_REASONS_SQL = """
SELECT {slug}, listener, key, sum(value::bigint)::bigint
FROM {table}, jsonb_each_text(rejected_by_reason) WHERE minute >= date_trunc('day', now(), 'UTC') GROUP BY listener, key
"""
_TENANTS_SQL = """
SELECT slug, schema_name FROM tenants_tenant WHERE status = 'active'
AND to_regclass(format('%I.telemetry_ingestledger', schema_name)) IS NOT NULL ORDER BY slug
"""
_UNROUTED_SQL = """
SELECT listener, sum(messages)::bigint FROM protocols_unroutedcount WHERE minute >= date_trunc('day', now(), 'UTC') GROUP BY listener
"""
_HELD_SQL = "SELECT tenant, messages FROM protocols_heldbacklog"


def render_metrics(*, with_tenants: bool) -> bytes:
    """Return everything in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(PlatformMetrics(with_tenants=with_tenants))
    ProcessCollector(registry=registry)
    PythonCollector(registry=registry)
    return generate_latest(registry)


class PlatformMetrics:
    """Asks the database and Redis when it is collected."""

    def __init__(self, *, with_tenants: bool) -> None:
        self._with_tenants = with_tenants

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: asking here would ask the database twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("iiot_up", "Whether a dependency answers.", labels=["dependency"])
        found: list[Metric] = []
        for dependency, source in (("database", self._ask_database), ("redis", _ask_redis)):
            metrics = _try(dependency, source)
            up.add_metric([dependency], 0 if metrics is None else 1)
            found += metrics or []
        yield up
        yield from found

    def _ask_database(self) -> list[Metric]:
        with connect_directly() as connection:
            connection.read_only = True
            connection.execute(f"SET LOCAL statement_timeout = {int(LIMIT_SECONDS * 1000)}")
            return [*_describe_listeners(connection), *_describe_ledger(connection, with_tenants=self._with_tenants)]


def _try(dependency: str, source: Callable[[], list[Metric]]) -> list[Metric] | None:
    try:
        return source()
    except (psycopg.Error, redis.RedisError, OSError) as exc:
        logger.warning("metrics of the %s: %s", dependency, exc)
        return None


def _describe_listeners(connection: "psycopg.Connection[tuple[Any, ...]]") -> list[Metric]:
    label = ["listener", "process"]
    alive = Counter[str]()
    up = GaugeMetricFamily("iiot_listener_connected", "1 while it can take messages in.", labels=label)
    age = GaugeMetricFamily("iiot_listener_heartbeat_age_seconds", "Time since its last report, every 3 s.", labels=label)
    started = GaugeMetricFamily("iiot_listener_start_time_seconds", "When its process started.", labels=label)
    restarts = CounterMetricFamily("iiot_listener_restarts", "New processes since the first.", labels=label)
    messages = CounterMetricFamily("iiot_listener_messages", "Messages stored or refused since its start.", labels=label)
    rejected = CounterMetricFamily("iiot_listener_messages_rejected", "Messages with a refusal since its start.", labels=label)
    size = CounterMetricFamily("iiot_listener_bytes", "Bytes of messages since its start.", labels=label)
    latency = GaugeMetricFamily("iiot_listener_commit_latency_seconds", "Receipt to commit, last batches.", labels=[*label, "quantile"])
    length = GaugeMetricFamily("iiot_listener_buffer_messages", "Messages that wait to be stored.", labels=label)
    fill = GaugeMetricFamily("iiot_listener_buffer_fill_ratio", "How full the buffer is, 0 to 1.", labels=label)
    connections = GaugeMetricFamily("iiot_listener_connections", "Open connections, where they are known.", labels=label)
    cache = CounterMetricFamily("iiot_cache_lookups", "Look-ups of devices, metrics and rules since its start.", labels=[*label, "result"])
    for row in connection.execute(_LISTENERS_SQL).fetchall():
        name, number, state, beat_age, began, *counts, p50, p99, waiting, full, open_connections, hits, misses = row
        up.add_metric([name, number], 1 if state == "connected" and beat_age < 15 else 0)
        alive[name] += state != "stopped" and beat_age < 15
        age.add_metric([name, number], beat_age)
        started.add_metric([name, number], began)
        for family, value in zip((restarts, messages, rejected, size), counts, strict=True):
            family.add_metric([name, number], value)
        for quantile, milliseconds in (("0.5", p50), ("0.99", p99)):
            if milliseconds is not None:
                latency.add_metric([name, number, quantile], milliseconds / 1000)
        length.add_metric([name, number], waiting)
        fill.add_metric([name, number], full)
        if open_connections is not None:
            connections.add_metric([name, number], open_connections)
        cache.add_metric([name, number, "hit"], hits)
        cache.add_metric([name, number, "miss"], misses)
    processes = GaugeMetricFamily("iiot_listener_processes", "How many processes listen; the others sum up by it.", labels=["listener"])
    for name, count in alive.items():
        processes.add_metric([name], count)
    return [processes, up, age, started, restarts, messages, rejected, size, latency, length, fill, connections, cache]


def _describe_ledger(connection: "psycopg.Connection[tuple[Any, ...]]", *, with_tenants: bool) -> list[Metric]:
    """Counters of the UTC day: they begin anew at midnight, which `rate` and `increase` take for a restart."""
    extra = ["tenant"] if with_tenants else []
    tenants = connection.execute(_TENANTS_SQL).fetchall()
    values: Counter[tuple[str, ...]] = Counter()
    messages: Counter[tuple[str, ...]] = Counter()
    reasons: Counter[tuple[str, ...]] = Counter()
    for slug, listener, *counts, message_count in _ask_tenants(connection, _LEDGER_SQL, tenants):
        own = (slug,) if with_tenants else ()
        messages[(listener, *own)] += message_count
        for outcome, count in zip(OUTCOMES, counts, strict=True):
            values[(listener, outcome, *own)] += count
    for slug, listener, reason, count in _ask_tenants(connection, _REASONS_SQL, tenants):
        reasons[(listener, reason, *((slug,) if with_tenants else ()))] += count
    unrouted: dict[tuple[str, ...], int] = {(listener,): count for listener, count in connection.execute(_UNROUTED_SQL).fetchall()}
    told = "since midnight UTC, from the ledger."
    held: Counter[tuple[str, ...]] = Counter()
    for slug, count in connection.execute(_HELD_SQL).fetchall():
        held[(slug,) if with_tenants else ()] += count
    waiting = GaugeMetricFamily("iiot_held_messages", "Messages kept until their tenant's tables take them again.", labels=extra)
    for values_of_labels, count in sorted(held.items()) or [((), 0)] * (not with_tenants):
        waiting.add_metric(list(values_of_labels), count)
    return [
        _count("iiot_ingest_values", f"Values by what became of them, {told}", ["listener", "outcome", *extra], values),
        _count("iiot_ingest_messages", f"Messages {told}", ["listener", *extra], messages),
        _count("iiot_ingest_rejected", f"Values and messages refused, by reason, {told}", ["listener", "reason", *extra], reasons),
        waiting,
        _count("iiot_ingest_unrouted", f"Messages that named no active tenant, {told}", ["listener"], unrouted),
    ]


def _ask_tenants(connection: "psycopg.Connection[tuple[Any, ...]]", query: str, tenants: list[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """Run the query in all tenants' schemas, in one round trip."""
    if not tenants:
        return []
    parts = [
        sql.SQL(query).format(slug=sql.Literal(slug), table=sql.Identifier(schema, "telemetry_ingestledger")) for slug, schema in tenants
    ]
    return connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()


def _count(name: str, documentation: str, labels: list[str], counts: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(list(values), count)
    return family


def _ask_redis() -> list[Metric]:
    """Return how many tasks wait in each queue."""
    names = [settings.CELERY_TASK_DEFAULT_QUEUE, *(route["queue"] for route in settings.CELERY_TASK_ROUTES.values())]
    family = GaugeMetricFamily("iiot_task_queue_length", "Tasks that wait for a worker.", labels=["queue"])
    url = f"{settings.REDIS_URL}/{CELERY_DATABASE}"
    with redis.Redis.from_url(url, socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS) as client:
        for name in dict.fromkeys(names):
            length: Any = client.llen(name)
            family.add_metric([name], length)
    return [family]
