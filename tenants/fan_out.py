"""Periodic work that every tenant has: one task each, so that one tenant's trouble is not another's."""

from typing import Any

from celery import Task
from django_tenants.utils import tenant_context

from tenants.selectors import list_active_tenants


def start_for_each_tenant(task: "Task[..., None]", **options: Any) -> None:
    """Queue the task once in the schema of each active tenant, with these options of `apply_async`, such as `expires`."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            task.apply_async(**options)
