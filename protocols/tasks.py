"""Periodic work that needs alerting and devices both. One task per tenant."""

from celery import shared_task
from django.utils import timezone
from django_tenants.utils import tenant_context

from protocols.expiry_warnings import warn_of_expiry
from tenants.selectors import list_active_tenants


@shared_task
def warn_of_expiry_task() -> None:
    """Hand the check of credentials to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            warn_of_tenants_expiry_task.apply_async(expires=600)


@shared_task
def warn_of_tenants_expiry_task() -> None:
    """Raise and end the warnings of the task's tenant."""
    warn_of_expiry(now=timezone.now())
