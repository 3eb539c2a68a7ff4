"""Periodic work: partitions ahead of time, the bound on rejected messages, roll-ups, a thinner ledger. One task per tenant."""

from celery import shared_task
from django.utils import timezone
from django_tenants.utils import tenant_context

from telemetry.ledger_thinning import thin_ledger
from telemetry.partitions import ensure_partitions
from telemetry.partitions_math import days_ahead
from telemetry.rollups import roll_up
from telemetry.services import trim_rejections
from tenants.selectors import list_active_tenants

ROLL_UP_SECONDS = 30
THIN_LEDGER_SECONDS = 3600


@shared_task
def create_partitions_task() -> None:
    """Hand the work to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            create_tenant_partitions_task.delay()


@shared_task
def create_tenant_partitions_task() -> None:
    """Create today's and the next days' partitions in the task's tenant."""
    ensure_partitions(days=days_ahead(timezone.now()))


@shared_task
def trim_rejections_task() -> None:
    """Hand the work to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            trim_tenant_rejections_task.delay()


@shared_task
def trim_tenant_rejections_task() -> None:
    """Keep only the newest rejected messages of the task's tenant."""
    trim_rejections()


@shared_task
def roll_up_task() -> None:
    """Hand the work to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            roll_up_tenant_task.apply_async(expires=ROLL_UP_SECONDS)


@shared_task
def roll_up_tenant_task() -> None:
    """Bring the roll-ups of the task's tenant up to date."""
    roll_up(now=timezone.now())


@shared_task
def thin_ledger_task() -> None:
    """Hand the work to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            thin_tenant_ledger_task.apply_async(expires=THIN_LEDGER_SECONDS)


@shared_task
def thin_tenant_ledger_task() -> None:
    """Merge old minutes of the ledger of the task's tenant."""
    thin_ledger(now=timezone.now())
