"""What incidents need as time goes by."""

from celery import shared_task
from django.utils import timezone
from django_tenants.utils import tenant_context

from alerting.still_firing import reopen_still_firing
from tenants.selectors import list_active_tenants


@shared_task
def reopen_still_firing_task() -> None:
    """Hand the check to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            reopen_tenants_still_firing_task.apply_async(expires=30)


@shared_task
def reopen_tenants_still_firing_task() -> None:
    """Reopen what was resolved by hand and is wrong all the same."""
    reopen_still_firing(now=timezone.now())
