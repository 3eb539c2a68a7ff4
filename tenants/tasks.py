"""Background work on tenants."""

import uuid

from celery import shared_task

from iiot_site.lib.lock_waits import patience
from tenants.provisioning import provision_tenant


@shared_task
def provision_tenant_task(tenant_id: str) -> None:
    """Create a tenant's schema."""
    with patience():
        provision_tenant(tenant_id=uuid.UUID(tenant_id))
