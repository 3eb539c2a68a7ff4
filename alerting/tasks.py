"""What incidents need as time goes by."""

from celery import shared_task
from django.utils import timezone

from alerting.still_firing import reopen_still_firing
from tenants.fan_out import start_for_each_tenant


@shared_task
def reopen_still_firing_task() -> None:
    """Hand the check to one task per tenant."""
    start_for_each_tenant(reopen_tenants_still_firing_task, expires=30)


@shared_task
def reopen_tenants_still_firing_task() -> None:
    """Reopen what was resolved by hand and is wrong all the same."""
    reopen_still_firing(now=timezone.now())
