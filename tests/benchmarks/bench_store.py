"""store: `store_readings` alone against a bare staged COPY of the same rows; prints rows/s, CPU of both sides, and the ratios.

The ratio of CPU times is the steadier one on a machine that does other things too.

Run it with `make bench NAME=store`.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import django
import psutil
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
django.setup()

from django_tenants.utils import schema_context  # noqa: E402 - Django must be set up first

from telemetry.partitions import ensure_partitions, forget_partitions  # noqa: E402
from telemetry.services import store_readings  # noqa: E402
from telemetry.staging import STAGE_COLUMNS, encode_numbers  # noqa: E402
from telemetry.types import NewReading  # noqa: E402

SCHEMA = "t_bench_store"
ROWS = 240_000
DEVICES = 1000
METRICS = 3
ROUNDS = 3
BARE_INSERT_SQL = "INSERT INTO telemetry_reading SELECT ts, value, device_id, metric_id, quality FROM bare_stage ON CONFLICT DO NOTHING"
BARE_STAGE_SQL = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS bare_stage ({STAGE_COLUMNS})
ON COMMIT DELETE ROWS
"""


@contextmanager
def fresh_schema() -> Iterator[None]:
    """Make an empty tenant's tables, and drop them afterwards."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    forget_partitions()
    with schema_context(SCHEMA):
        executor = MigrationExecutor(connection)
        executor.migrate([node for node in executor.loader.graph.leaf_nodes() if node[0] == "telemetry"])
        yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def make_readings(now: datetime) -> list[NewReading]:
    """Return rows in time order: every second each device sends each of its metrics."""
    start = now - timedelta(seconds=ROWS // (DEVICES * METRICS))
    rows = []
    for n in range(ROWS):
        second, rest = divmod(n, DEVICES * METRICS)
        device, metric = divmod(rest, METRICS)
        ts = start + timedelta(seconds=second)
        rows.append(NewReading(device + 1, metric + 1, ts, now, 20 + n % 97 / 10, None, 0))
    return rows


def server_cpu_seconds() -> float:
    """Return the CPU time so far of the PostgreSQL process that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        times = psutil.Process(cursor.fetchone()[0]).cpu_times()
    return float(times.user + times.system)


def timed(name: str, batch: int, work: Callable[[], None]) -> tuple[float, float]:
    """Return rows per second and CPU seconds per 100,000 rows of one run into a fresh schema, and assert that every row is there."""
    with fresh_schema():
        ensure_partitions(days=[(datetime.now(UTC) + timedelta(days=n)).date() for n in (-1, 0)])
        server, started, client = server_cpu_seconds(), time.perf_counter(), time.process_time()
        work()
        seconds, client = time.perf_counter() - started, time.process_time() - client
        server = server_cpu_seconds() - server
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM telemetry_reading")
            assert cursor.fetchone() == (ROWS,)
    client, server = client / ROWS * 1e5, server / ROWS * 1e5
    print(f"store: {name} batch={batch} {ROWS / seconds:,.0f} rows/s, CPU {client:.2f} + PostgreSQL {server:.2f} s/100k")
    return ROWS / seconds, client + server


def main() -> None:
    """Print the median of three runs for small and large batches."""
    now = datetime.now(UTC)
    readings = make_readings(now)
    for batch in (2000, 6000):
        batches = [readings[n : n + batch] for n in range(0, ROWS, batch)]
        encoded = [encode_numbers(rows) for rows in batches]

        def bare(encoded: list[bytes] = encoded) -> None:
            with connection.cursor() as cursor:
                cursor.execute(BARE_STAGE_SQL)
                for data in encoded:
                    with transaction.atomic():
                        with cursor.copy("COPY bare_stage FROM STDIN (FORMAT binary)") as copy:
                            copy.write(data)
                        cursor.execute(BARE_INSERT_SQL)

        def ours(batches: list[list[NewReading]] = batches) -> None:
            for rows in batches:
                with transaction.atomic():
                    store_readings(readings=rows, now=now)

        figures = [timed("store_readings", batch, ours) + timed("bare staged COPY", batch, bare) for _ in range(ROUNDS)]
        figure, cpu, limit, limit_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(
            f"store batch={batch} {figure:,.0f} rows/s ratio={figure / limit:.2f} of bare staged COPY ({limit:,.0f} rows/s), "
            f"CPU {cpu:.2f} s/100k ({limit_cpu:.2f}) ratio={limit_cpu / cpu:.2f}"
        )


if __name__ == "__main__":
    main()
