"""Stores messages that were held for a tenant in trouble, once it is out of it."""

import logging
from uuid import UUID

import msgspec
import psycopg
from django.db import Error, connection, transaction
from django.utils import timezone

from iiot_site.lib.clock import database_now
from iiot_site.lib.lock_waits import limit_lock_waits_now
from protocols.handoff import Committed, hand_on_now
from protocols.held_expiry import LOCK_SECONDS, drop_former, expire_held
from protocols.held_messages import list_backlogs, note_failure, note_stored, take_held
from protocols.models import HeldBacklog
from protocols.pipeline import process_messages
from protocols.progress import Progress
from protocols.types import UNKNOWN_TENANT
from tenants.models import Tenant
from tenants.selectors import load_tenant

logger = logging.getLogger(__name__)

AT_ONCE = 2_000
AT_ONCE_BYTES = 2 * 1024 * 1024  # as a listener's batch


def put_back_all() -> int:
    """Store what is held of every tenant that can take it; return how many messages. Who cannot does not stop the others.

    What waited for too long is refused afterwards, see `held_expiry`.
    """
    return sum(_put_back_tenant(backlog) for backlog in list_backlogs())


def _may_store(tenant: Tenant | None) -> bool:
    """Tell whether the tenant is active, or gone for good; what a suspended one sent before waits until it is active again."""
    return tenant is None or tenant.status == Tenant.Status.ACTIVE


def _put_back_tenant(backlog: HeldBacklog) -> int:
    slug, total = backlog.tenant, 0
    try:
        if (tenant := load_tenant(slug)) is not None:
            drop_former(slug=slug, owner=tenant.pk, now=database_now())
        while _may_store(tenant) and (count := put_back_some(slug=slug, owner=tenant.pk if tenant else None)):
            total += count
            tenant = load_tenant(slug)
    except (Error, psycopg.Error, msgspec.MsgspecError) as error:  # the last: held by a version that knew messages otherwise
        connection.close()
        note_failure(tenant=slug, error=error)
        logger.warning("messages of %s stay held: %s", slug, error)
    if total:
        logger.info("%d held messages of %s were put back", total, slug)
    try:
        expire_held(slug=slug, since=backlog.since, now=database_now())
    except (Error, psycopg.Error) as error:
        connection.close()
        logger.warning("old messages of %s stay held: %s", slug, error)
    return total


def put_back_some(*, slug: str, owner: UUID | None) -> int:
    """Store some of what is held for a tenant, whose id is `owner`, and return how many messages; 0 at the end.

    Raises:
        django.db.Error: the tenant cannot store them yet; all stay held.
    """
    committed: list[Committed] = []
    with transaction.atomic():
        limit_lock_waits_now(LOCK_SECONDS)
        taken = take_held(tenant=slug, owner=owner, limit=AT_ONCE, max_bytes=AT_ONCE_BYTES)
        if taken.messages:
            outcome = process_messages(
                messages=taken.messages, now=timezone.now(), hand_on=committed.append, progress=Progress(taken.stamps)
            )
            if owner is not None and UNKNOWN_TENANT in {refusal.reason for refusal in outcome.refusals}:
                transaction.set_rollback(True)  # suspended just now, or a cache of this process has not heard that it is active again
                return 0
            note_stored(taken.rows, tenant=slug)
    for part in committed:
        hand_on_now(part)
    return len(taken.messages)
