"""What the ingest benchmarks share: tenants with devices and rules, processes, CPU time, what the database holds."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import django
import psutil
from django.core.management import call_command
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
django.setup()

from django.utils import timezone  # noqa: E402 - Django must be set up first
from django_tenants.utils import tenant_context  # noqa: E402

from devices.models import Device, DeviceCredential, DeviceType, Metric  # noqa: E402
from devices.services import issue_credential  # noqa: E402
from rules.models import Rule  # noqa: E402
from rules.services import save_rule  # noqa: E402
from tenants.models import Tenant  # noqa: E402
from tenants.services import create_tenant, issue_api_key, provision_tenant  # noqa: E402

METRICS = ("temperature", "pressure", "vibration")
WATCHED_SHARE = 0.3  # of the devices, one metric of three each: rules on 10 % of the series
LEDGER_SQL = "SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicate), 0) FROM ({ledgers}) AS ledgers"
NEVER = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 1e6}


def make_plant(slugs: Collection[str], *, devices: int) -> list[Tenant]:
    """Return the tenants, made with `devices` each where they are not there yet, and a rule on a tenth of the series."""
    if not Path(os.environ["IIOT_DATA_DIR"], "secrets").exists():
        Path(os.environ["IIOT_DATA_DIR"], "secrets").mkdir(parents=True)
    call_command("migrate_schemas", "--shared", verbosity=0)
    return [_make_tenant(slug, devices) for slug in slugs]


def make_api_key(tenant: Tenant) -> str:
    """Return a key that may write telemetry."""
    issued = issue_api_key(tenant=tenant, name=f"bench {time.time()}", permissions=["telemetry:write"], created_by=None)
    return issued.secret


def make_device_tokens(tenant: Tenant) -> list[str]:
    """Return a new token of each device; former ones are gone."""
    with tenant_context(tenant):
        DeviceCredential.objects.all().delete()
        kind, now = DeviceCredential.Kind.TOKEN, timezone.now()
        return [issue_credential(device=device, kind=kind, now=now).secret for device in Device.objects.order_by("id")]


def _make_tenant(slug: str, devices: int) -> Tenant:
    tenant: Tenant | None = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        tenant = create_tenant(slug=slug, name=slug)
        provision_tenant(tenant_id=tenant.pk)
        tenant.refresh_from_db()
    with tenant_context(tenant):
        types = {name: _make_type(name) for name in ("Watched", "Unwatched")}
        missing = range(Device.objects.count(), devices)
        Device.objects.bulk_create(
            Device(key=f"dev{n}", name=f"dev{n}", device_type=types["Watched" if n < devices * WATCHED_SHARE else "Unwatched"])
            for n in missing
        )
        if not Rule.objects.exists():
            save_rule(rule=Rule(name="Never", severity="high", condition=NEVER, device_type=types["Watched"]), now=timezone.now())
    return tenant


def _make_type(name: str) -> DeviceType:
    device_type, is_new = DeviceType.objects.get_or_create(name=name)
    if is_new:
        Metric.objects.bulk_create(Metric(device_type=device_type, key=key) for key in METRICS)
    return device_type


def count_readings(tenants: Collection[Tenant]) -> int:
    """Return how many readings the tenants have."""
    total = 0
    for tenant in tenants:
        with tenant_context(tenant), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM telemetry_reading")
            total += cursor.fetchone()[0]
    return total


def count_in_ledger(tenants: Collection[Tenant]) -> tuple[int, int, int]:
    """Return received, stored and duplicate of the tenants' ledgers, in one query, so that it may be polled."""
    ledgers = " UNION ALL ".join(
        f'SELECT received, stored, duplicate FROM "{tenant.schema_name}".telemetry_ingestledger' for tenant in tenants
    )
    with connection.cursor() as cursor:
        cursor.execute(LEDGER_SQL.format(ledgers=ledgers))
        received, stored, duplicate = cursor.fetchone()
    return int(received), int(stored), int(duplicate)


def own_backend_pid() -> int:
    """Return the process that serves this benchmark's own queries: what it costs is not the platform's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def clear_readings(tenants: Collection[Tenant]) -> None:
    """Empty what the ingest writes."""
    for tenant in tenants:
        with tenant_context(tenant), connection.cursor() as cursor:
            cursor.execute("TRUNCATE telemetry_reading, telemetry_latestreading, telemetry_ingestledger, rules_rulestate")


@contextmanager
def process(*command: str, ready: str = "", env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run Python with these arguments until the end of the block; wait for the file named `ready` if there is one."""
    if ready:
        Path(ready).unlink(missing_ok=True)
    environment = {**os.environ, **(env or {}), **({"IIOT_READY_FILE": ready} if ready else {})}
    running = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        while ready and not Path(ready).exists():
            if running.poll() is not None:
                sys.exit(f"{command} ended with {running.returncode} before it was ready")
            time.sleep(0.05)
        yield running
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
        if running.stdout is not None:
            running.stdout.close()


def cpu_by_process(*, without: Collection[int] = ()) -> dict[str, float]:
    """Return the CPU time of the servers and processes of this run so far, by what they are, but for those in `without`."""
    root = psutil.Process(os.getppid())
    totals: dict[str, float] = {}
    for member in [root, *root.children(recursive=True)]:
        if member.pid in without or member.pid == os.getpid():
            continue
        try:
            times, words = member.cpu_times(), member.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        name = _name_process(words)
        totals[name] = totals.get(name, 0.0) + times.user + times.system + times.children_user + times.children_system
    return totals


def _name_process(words: list[str]) -> str:
    line = " ".join(words)
    known = {"listen ": "listener", "celery": "worker", "postgres": "PostgreSQL", "mosquitto": "broker", "beam": "broker", "redis": "Redis"}
    return next((name for part, name in known.items() if part in line), "other")


def cpu_seconds(*, without: Collection[int] = ()) -> float:
    """Return the sum of `cpu_by_process`."""
    return sum(cpu_by_process(without=without).values())
