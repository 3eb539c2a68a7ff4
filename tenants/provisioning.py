"""Turns a tenant's row into a usable tenant: schema, migrations with visible progress, state."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from tenants.errors import TenantNotFoundError
from tenants.migrating import create_schema, migrate_schema
from tenants.models import Tenant
from tenants.selectors import clear_tenant_cache
from tenants.types import MigrationProgress

logger = logging.getLogger(__name__)

_LOCK_SPACE = 0x11070001  # advisory locks of ours: (space, hash of the tenant)


def _save_progress(tenant_id: uuid.UUID, *, status: Tenant.Status, step: str, done: int, total: int, error: str = "") -> None:
    """Write how far it is. Between migrations the connection commits each statement, so others see it at once."""
    progress = {"step": step, "done": done, "total": total, "error": error}
    Tenant.objects.filter(pk=tenant_id).update(status=status, progress=progress)


@contextmanager
def _only_worker(tenant_id: uuid.UUID) -> Iterator[None]:
    """Hold off a second worker on the same tenant until this one is through."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [_LOCK_SPACE, str(tenant_id)])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [_LOCK_SPACE, str(tenant_id)])


def provision_tenant(*, tenant_id: uuid.UUID) -> Tenant:
    """Make the tenant usable; a half-created one is finished, a finished one is left alone.

    Raises what a migration raises, after writing it into the tenant's progress.
    """
    with _only_worker(tenant_id):
        tenant: Tenant | None = Tenant.objects.filter(pk=tenant_id).first()
        if tenant is None:
            raise TenantNotFoundError("There is no such tenant.")
        if tenant.status in {Tenant.Status.CREATING, Tenant.Status.FAILED}:
            _provision(tenant)
    clear_tenant_cache()
    tenant.refresh_from_db()
    return tenant


def _provision(tenant: Tenant) -> None:
    last = MigrationProgress(step="schema", done=0, total=0)

    def report(progress: MigrationProgress) -> None:
        nonlocal last
        last = progress
        _save_progress(tenant.pk, status=Tenant.Status.CREATING, step=progress.step, done=progress.done, total=progress.total)

    report(last)
    try:
        create_schema(tenant.schema_name)
        migrate_schema(tenant.schema_name, report)
    except Exception as exc:  # a migration may raise anything; it is written down for the admin and goes on to the task
        error = f"{last.step}: {str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__}"[:500]
        _save_progress(tenant.pk, status=Tenant.Status.FAILED, step=last.step, done=last.done, total=last.total, error=error)
        logger.warning("creating tenant %s failed at %s", tenant.slug, error)
        raise
    _save_progress(tenant.pk, status=Tenant.Status.ACTIVE, step="ready", done=last.total, total=last.total)
    logger.info("tenant %s is ready", tenant.slug)
