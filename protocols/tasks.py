"""Periodic work that needs alerting and devices both. One task per tenant."""

import logging
import time
from datetime import datetime

from celery import shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.status import STATUS_TIMER
from iiot_site.lib.clock import database_now
from iiot_site.lib.schemas import current_schema
from protocols.device_watch import LOOK_AT_LEAST_EVERY, beat, watch_devices
from protocols.expiry_warnings import warn_of_expiry
from protocols.putting_back import put_back_all
from protocols.services import thin_unrouted
from tenants.fan_out import start_for_each_tenant
from tenants.models import Tenant
from tenants.timers import LEASE, ClaimedTimer, claim_due_timers, finish_timer

logger = logging.getLogger(__name__)


@shared_task
def warn_of_expiry_task() -> None:
    """Hand the check of credentials to one task per tenant."""
    start_for_each_tenant(warn_of_tenants_expiry_task, expires=600)


@shared_task
def warn_of_tenants_expiry_task() -> None:
    """Raise and end the warnings of the task's tenant."""
    warn_of_expiry(now=timezone.now())


@shared_task
def watch_devices_task() -> None:
    """Hand the tenants that have something due to one task each."""
    now = database_now()
    beat(now=now, monotonic_seconds=time.monotonic())
    timers = {timer.schema: timer for timer in claim_due_timers(kind=STATUS_TIMER, now=now)}
    active = Tenant.objects.filter(schema_name__in=timers, status=Tenant.Status.ACTIVE)
    for tenant in active:
        timer = timers.pop(tenant.schema_name)
        with tenant_context(tenant):
            watch_tenant_devices_task.apply_async((now.isoformat(), timer.leased_until.isoformat()), expires=LEASE.total_seconds())
    for timer in timers.values():  # suspended, or gone
        finish_timer(timer=timer, next_due_at=now + LOOK_AT_LEAST_EVERY)


@shared_task(ignore_result=True)
def watch_tenant_devices_task(now: str, leased_until: str) -> None:
    """Look at the devices of the task's tenant, at a time that the beat has vouched for. What fails comes again after the lease."""
    timer = ClaimedTimer(current_schema(), STATUS_TIMER, "", datetime.fromisoformat(leased_until))
    try:
        next_due_at = watch_devices(now=datetime.fromisoformat(now))
        finish_timer(timer=timer, next_due_at=next_due_at)
    except (OperationalError, InterfaceError) as exc:
        logger.warning("the devices of %s were not looked at: %s", timer.schema, exc)


@shared_task
def put_back_held_task() -> None:
    """Store what was held for tenants in trouble, of those that are out of it."""
    put_back_all()


@shared_task
def thin_unrouted_task() -> None:
    """Merge old minutes of what no tenant took."""
    thin_unrouted(now=timezone.now())
