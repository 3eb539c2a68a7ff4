"""Periodic work: partitions ahead of time, the bound on rejected messages, roll-ups, a thinner ledger. One task per tenant."""

from celery import shared_task
from django.utils import timezone

from telemetry.ledger_thinning import thin_ledger
from telemetry.partitions import ensure_partitions
from telemetry.partitions_math import days_ahead
from telemetry.rollups import roll_up
from telemetry.services import trim_rejections
from tenants.fan_out import start_for_each_tenant

ROLL_UP_SECONDS = 30
THIN_LEDGER_SECONDS = 3600


@shared_task
def create_partitions_task() -> None:
    """Hand the work to one task per tenant."""
    start_for_each_tenant(create_tenant_partitions_task)


@shared_task
def create_tenant_partitions_task() -> None:
    """Create today's and the next days' partitions in the task's tenant."""
    ensure_partitions(days=days_ahead(timezone.now()))


@shared_task
def trim_rejections_task() -> None:
    """Hand the work to one task per tenant."""
    start_for_each_tenant(trim_tenant_rejections_task)


@shared_task
def trim_tenant_rejections_task() -> None:
    """Keep only the newest rejected messages of the task's tenant."""
    trim_rejections()


@shared_task
def roll_up_task() -> None:
    """Hand the work to one task per tenant."""
    start_for_each_tenant(roll_up_tenant_task, expires=ROLL_UP_SECONDS)


@shared_task
def roll_up_tenant_task() -> None:
    """Bring the roll-ups of the task's tenant up to date."""
    roll_up(now=timezone.now())


@shared_task
def thin_ledger_task() -> None:
    """Hand the work to one task per tenant."""
    start_for_each_tenant(thin_tenant_ledger_task, expires=THIN_LEDGER_SECONDS)


@shared_task
def thin_tenant_ledger_task() -> None:
    """Merge old minutes of the ledger of the task's tenant."""
    thin_ledger(now=timezone.now())
