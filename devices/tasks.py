"""Periodic work on commands."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import EXPIRY_TIMER, expire_commands
from tenants.models import Tenant
from tenants.timers import claim_due_timers, finish_timer

SUSPENDED_WAIT = timedelta(hours=1)


@shared_task
def expire_commands_task() -> None:
    """Give up on commands whose time is over, in the tenants that have some."""
    now = timezone.now()
    timers = {timer.schema: timer for timer in claim_due_timers(kind=EXPIRY_TIMER, now=now)}
    for tenant in Tenant.objects.filter(schema_name__in=timers, status=Tenant.Status.ACTIVE):
        with tenant_context(tenant):
            finish_timer(timer=timers.pop(tenant.schema_name), next_due_at=expire_commands(now=now))
    for timer in timers.values():  # suspended, or gone
        finish_timer(timer=timer, next_due_at=now + SUSPENDED_WAIT)
