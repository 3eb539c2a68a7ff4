"""Gives up on messages that were held for too long: a suspended organisation's, of tables that nobody mends, unreadable ones.

Nothing goes uncounted: they are in their tenant's ledger as `held_too_long`, with a row per device among its rejected
messages. Where not even the ledger can be written they are among the messages that no tenant took.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django_tenants.utils import tenant_context

from iiot_site.lib.lock_waits import limit_lock_waits_now
from protocols.held_messages import TakenRows, Whose, decode_held, note_stored, take_rows
from protocols.resolution import resolve_devices
from protocols.services import count_unrouted, record_refused_messages
from protocols.storing import make_rejection
from protocols.types import RawMessage
from telemetry.types import NewRejection
from tenants.models import Tenant
from tenants.selectors import load_tenant

logger = logging.getLogger(__name__)

REASON = "held_too_long"
UNREADABLE_LISTENER = "held"
AT_ONCE = 2_000
AT_ONCE_BYTES = 2 * 1024 * 1024
BATCHES_AT_MOST = 50  # in one turn; the next comes in seconds
LOCK_SECONDS = 0.5  # the worker comes again every five seconds, and other tenants wait


def expire_held(*, slug: str, since: datetime, now: datetime) -> int:
    """Refuse what a tenant sent more than `IIOT_HELD_MAX_AGE_DAYS` ago; return how many messages.

    `since` is when the first of them was held. Times are by the database's clock.

    Raises:
        django.db.Error: the shared tables fail.
    """
    before = now - timedelta(days=settings.IIOT_HELD_MAX_AGE_DAYS)
    if since >= before:
        return 0
    total, has_ledger = 0, True
    for _ in range(BATCHES_AT_MOST):
        count, has_ledger = _expire_some(slug, before, now, has_ledger=has_ledger)
        total += count
        if count == 0:
            break
    if total:
        logger.warning("%d messages of %s were held for more than %d days and are refused", total, slug, settings.IIOT_HELD_MAX_AGE_DAYS)
    return total


def drop_former(*, slug: str, owner: UUID, now: datetime) -> int:
    """Drop what is held for another than the tenant that has this short name now; return how many messages.

    That one is gone with its ledger, so they are counted among the messages that no tenant took.

    Raises:
        django.db.Error: the shared tables fail.
    """
    total = 0
    while count := _drop_some(slug, owner, now):
        total += count
    if total:
        logger.warning("%d messages held for a former organisation %s were dropped", total, slug)
    return total


@transaction.atomic
def _drop_some(slug: str, owner: UUID, now: datetime) -> int:
    limit_lock_waits_now(LOCK_SECONDS)
    taken = take_rows(tenant=slug, limit=AT_ONCE, max_bytes=AT_ONCE_BYTES, whose=Whose.FORMER, owner=owner)
    if taken.messages:
        _count_as_unrouted(_read(taken, now), now)
        note_stored(taken, tenant=slug)
    return len(taken.messages)


@transaction.atomic
def _expire_some(slug: str, before: datetime, now: datetime, *, has_ledger: bool) -> tuple[int, bool]:
    limit_lock_waits_now(LOCK_SECONDS)
    tenant = load_tenant(slug)
    taken = take_rows(tenant=slug, limit=AT_ONCE, max_bytes=AT_ONCE_BYTES, before=before, owner=tenant.pk if tenant else None)
    if not taken.messages:
        return 0, has_ledger
    readable = _read(taken, now)
    has_ledger = has_ledger and tenant is not None and _enter_in_ledger(tenant, readable, now)
    if not has_ledger:
        _count_as_unrouted(readable, now)
    note_stored(taken, tenant=slug)
    return len(taken.messages), has_ledger


def _read(taken: TakenRows, now: datetime) -> list[RawMessage]:
    """Return the messages that can be read, and count the others."""
    readable = [message for message in map(decode_held, taken.messages) if message is not None]
    if unreadable := len(taken.messages) - len(readable):
        count_unrouted(listener=UNREADABLE_LISTENER, messages=unreadable, now=now)
    return readable


def _count_as_unrouted(messages: Sequence[RawMessage], now: datetime) -> None:
    for listener, count in Counter(message.protocol for message in messages).items():
        count_unrouted(listener=listener, messages=count, now=now)


def _enter_in_ledger(tenant: Tenant, messages: Sequence[RawMessage], now: datetime) -> bool:
    """Tell whether the tenant's own tables took them."""
    by_listener: dict[str, list[RawMessage]] = defaultdict(list)
    for message in messages:
        by_listener[message.protocol].append(message)
    try:
        with tenant_context(tenant), transaction.atomic():
            for group in by_listener.values():
                rejections = _reject(tenant.schema_name, group)
                record_refused_messages(rejections=rejections, now=now, reasons=[REASON] * len(group))
    except DatabaseError as exc:
        logger.warning("the ledger of %s cannot say what was held for too long: %s", tenant.slug, exc)
        return False
    return True


def _reject(schema: str, messages: Sequence[RawMessage]) -> list[NewRejection]:
    """Make one row for each device, which shows its oldest message."""
    by_device: dict[str, list[RawMessage]] = defaultdict(list)
    for message in messages:
        by_device[message.device].append(message)
    known = resolve_devices(schema, set(by_device))
    detail = f"The organisation could not take it for {settings.IIOT_HELD_MAX_AGE_DAYS} days: suspended, or its tables failed."
    rejections = []
    for key, group in by_device.items():
        device, oldest = known.get(key), group[0]
        more = f" (and {len(group) - 1} more messages)" if len(group) > 1 else ""
        rejections.append(make_rejection(oldest, device.id if device else None, REASON, detail + more))
    return rejections
