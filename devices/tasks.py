"""Periodic work on commands."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import EXPIRY_TIMER, expire_commands
from tenants.models import Tenant
from tenants.timers import claim_due_timers, finish_timer

logger = logging.getLogger(__name__)

SUSPENDED_WAIT = timedelta(hours=1)


@shared_task
def expire_commands_task() -> None:
    """Give up on commands whose time is over, in the tenants that have some."""
    now = timezone.now()
    timers = {timer.schema: timer for timer in claim_due_timers(kind=EXPIRY_TIMER, now=now)}
    for tenant in Tenant.objects.filter(schema_name__in=timers, status=Tenant.Status.ACTIVE):
        timer = timers.pop(tenant.schema_name)
        try:
            with tenant_context(tenant):
                finish_timer(timer=timer, next_due_at=expire_commands(now=now))
        except (DatabaseError, InterfaceError) as exc:  # comes again after the lease; the others do not wait for it
            logger.warning("the commands of %s were not looked at: %s", timer.schema, exc)
    for timer in timers.values():  # suspended, or gone
        finish_timer(timer=timer, next_due_at=now + SUSPENDED_WAIT)
