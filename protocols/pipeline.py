"""The one way from raw messages to stored readings, for every protocol.

resolve device → decode (pure) → resolve metrics → judge → store → COMMIT → hand on. Tenants that are well share transactions.
Whoever called acknowledges to the device after `process_messages` has returned.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import django.db
import psycopg
from django.db import DataError, IntegrityError, transaction
from django_tenants.utils import tenant_context

from iiot_site.lib.errors import IIoTError
from iiot_site.lib.lock_waits import impatience
from protocols.control_messages import take_in
from protocols.deliveries import highest_counts
from protocols.errors import RateLimitedError
from protocols.handoff import Committed, hand_on_now
from protocols.held_messages import hold_messages
from protocols.holding import Holding, is_databases_fault
from protocols.progress import Progress
from protocols.services import count_unrouted
from protocols.storing import TOO_MANY, Batch, Group, Item, decode_all, refuse_culprit, store
from protocols.types import UNKNOWN_TENANT, BatchOutcome, RawMessage, Refusal
from telemetry.errors import PartitionDroppedError
from tenants.models import Tenant
from tenants.selectors import get_active_tenant

logger = logging.getLogger(__name__)

# What data can cause. Anything else (database away, deadlock, missing table) is the batch's failure, to be retried whole.
_DATA_ERRORS = (
    IIoTError,
    DataError,
    IntegrityError,
    psycopg.DataError,
    psycopg.IntegrityError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
)

TENANTS_TOGETHER = 25  # as many in one transaction: a commit costs a fifth of what a small batch does, and locks last till then
TOGETHER_LOCK_SECONDS = 1.0


def process_messages(
    *,
    messages: Sequence[RawMessage],
    now: datetime,
    hand_on: Callable[[Committed], None] = hand_on_now,
    uncovered: Collection[int] = (),
    progress: Progress | None = None,
    holding: Holding | None = None,
) -> BatchOutcome:
    """Store a batch from any number of tenants and hand it on once it is committed.

    Messages at the indexes in `uncovered` are beyond their sender's credit: refused, counted, and not even read.
    `holding` takes those of a tenant whose tables fail while the database works; without it such a failure is raised.

    Raises:
        django.db.Error: a tenant's batch failed for no fault of its data; nothing may be acknowledged, the same batch
            is to be tried again with the same `progress`, its deliveries marked as redelivered.
    """
    progress = progress or Progress()
    groups: dict[tuple[str, str, bool], list[tuple[int, RawMessage]]] = defaultdict(list)  # by listener too: the ledger counts each apart
    for index, message in enumerate(messages):
        if not progress.is_done(index):
            groups[message.tenant, message.protocol, bool(message.channel)].append((index, message))
    batch = Batch(uncovered, highest_counts(messages), now, hand_on, progress)
    if holding is not None:
        _store_together([g for (slug, _, is_control), g in groups.items() if not is_control and holding.is_well(slug)], batch, holding)
    for (slug, _, is_control), group in groups.items():
        if progress.is_done(group[0][0]):
            continue
        if holding is None:
            _process_group(slug, group, batch, is_control=is_control)
        elif holding.is_in_trouble(slug):
            _hold(slug, group, batch)
        else:
            try:
                with impatience(holding.lock_seconds(slug)):
                    _process_group(slug, group, batch, is_control=is_control)
            except (django.db.Error, psycopg.Error) as error:
                holding.blame(slug, error, is_control=is_control)
                _hold(slug, [(index, message) for index, message in group if not progress.is_done(index)], batch, error)
            else:
                holding.clear(slug, is_control=is_control)
    return progress.sum_up()


def _process_group(slug: str, group: Group, batch: Batch, *, is_control: bool) -> None:
    """Take in what one tenant's devices sent through one listener: readings, or all else."""
    if is_control:
        refusals = take_in(group, uncovered=batch.uncovered, now=batch.now)
        outcome = BatchOutcome(0, 0, refusals, frozenset(refusal.index for refusal in refusals))
        batch.progress.finish([index for index, _ in group], outcome)
    else:
        _process_tenant(slug, group, batch)


def _hold(slug: str, group: Group, batch: Batch, error: Exception | None = None) -> None:
    within = [(index, message) for index, message in group if index not in batch.uncovered]
    outcome = hold_messages(tenant=slug, messages=within, until=batch.until, stamps=batch.progress.stamps, error=error, now=batch.now)
    batch.progress.finish([index for index, _ in within], outcome)
    flood = [index for index, _ in group if index in batch.uncovered]
    if flood:
        count_unrouted(listener=group[0][1].protocol, messages=len(flood), now=batch.now)
        refusals = [Refusal(index, RateLimitedError.code, TOO_MANY) for index in flood]
        batch.progress.finish(flood, BatchOutcome(0, 0, refusals, frozenset(flood)))


def _process_tenant(slug: str, group: Group, batch: Batch) -> None:
    tenant = get_active_tenant(slug)
    if tenant is None:
        logger.warning("refused %d messages for the unknown or inactive tenant %.40r", len(group), slug)
        count_unrouted(listener=group[0][1].protocol, messages=len(group), now=batch.now)
        indexes = [index for index, _ in group]
        refusals = [Refusal(index, UNKNOWN_TENANT, "There is no active tenant of this name.") for index in indexes]
        batch.progress.finish(indexes, BatchOutcome(0, 0, refusals, frozenset(indexes)))
        return
    with tenant_context(tenant):
        _store_or_split(tenant.schema_name, decode_all(tenant.schema_name, group, batch), batch)


def _store_together(groups: Sequence[Group], batch: Batch, holding: Holding) -> None:
    """Store readings of many tenants, some of them in each transaction; where one fails it leaves the rest undone.

    Whoever called goes on with those one by one. Tenants come in the same order everywhere: nobody waits in a ring.

    Raises:
        django.db.Error: the database itself is in trouble, or a commit was not confirmed.
    """
    if len(groups) < 2:
        return
    groups = sorted(groups, key=lambda group: group[0][1].tenant)
    for start in range(0, len(groups), TENANTS_TOGETHER):
        some = groups[start : start + TENANTS_TOGETHER]
        slug, done = "", []
        try:
            with impatience(TOGETHER_LOCK_SECONDS):
                parts = [part for group in some if (part := _prepare(group, batch)) is not None]
                with transaction.atomic():
                    for tenant, items in parts:
                        slug = tenant.slug
                        done.append((items, *_store_part(tenant, items, batch)))
        except (*_DATA_ERRORS, django.db.Error, psycopg.Error) as error:
            if is_databases_fault(error):
                raise
            logger.info("a batch is stored tenant by tenant, because of %s: %s: %s", slug, type(error).__name__, error)
            if slug and not isinstance(error, PartitionDroppedError):
                holding.set_apart(slug)
            return
        for items, outcome, committed in done:
            batch.progress.finish([item.index for item in items], outcome)
            batch.hand_on(committed)


def _prepare(group: Group, batch: Batch) -> tuple[Tenant, list[Item]] | None:
    """Return a tenant with its messages decoded; None where there is no such tenant."""
    tenant = get_active_tenant(group[0][1].tenant)
    if tenant is None:
        return None
    with tenant_context(tenant):
        return tenant, decode_all(tenant.schema_name, group, batch)


def _store_part(tenant: Tenant, items: Sequence[Item], batch: Batch) -> tuple[BatchOutcome, Committed]:
    with tenant_context(tenant):
        return store(tenant.schema_name, items, batch)


def _store_or_split(schema: str, items: Sequence[Item], batch: Batch, *, is_second: bool = False) -> None:
    """Store a tenant's batch; where some message makes it fail, halve until that one stands alone and refuse it."""
    indexes = [item.index for item in items]
    try:
        with transaction.atomic():
            outcome, committed = store(schema, items, batch)
    except PartitionDroppedError:  # no message's fault
        if is_second:
            raise
        _store_or_split(schema, items, batch, is_second=True)
    except _DATA_ERRORS as exc:
        if len(items) == 1:
            batch.progress.finish(indexes, refuse_culprit(items[0], exc, batch.now))
            return
        middle = len(items) // 2
        _store_or_split(schema, items[:middle], batch)
        _store_or_split(schema, items[middle:], batch)
    else:
        batch.progress.finish(indexes, outcome)
        batch.hand_on(committed)
