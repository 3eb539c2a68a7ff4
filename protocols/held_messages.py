"""Messages that wait in the shared schema until their tenant can store them.

They are committed and hence acknowledged; the worker stores them later as if they came then, received when they were.
"""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum
from msgspec.structs import replace

from iiot_site.lib.clock import put_on_database_clock, put_on_own_clock
from iiot_site.lib.times import LAST_MOMENT
from protocols.deliveries import find_duplicates, record_deliveries
from protocols.models import HeldBacklog, HeldMessage
from protocols.receipt_times import claim_receipt_time
from protocols.services import count_unrouted
from protocols.types import BatchOutcome, RawMessage, Refusal
from tenants.models import Tenant

logger = logging.getLogger(__name__)

FULL = "tenant_unavailable"
_FULL_DETAIL = "The organisation's tables fail, and as much is held for it as may be; the operator of the platform has to mend them."
_TAKE_SQL = """
SELECT id, message FROM (
    SELECT id, message, size, sum(size) OVER (ORDER BY received_at, id) AS total FROM (
        SELECT id, message, size, received_at FROM protocols_heldmessage WHERE tenant = %s AND received_at < %s AND {whose}
        ORDER BY received_at, id LIMIT %s
    ) AS next
) AS counted WHERE total - size < %s ORDER BY total
"""


class Whose(StrEnum):
    """Which of the messages that are held under a short name: `owner` is the id of the tenant that has it now, None where none has."""

    OWN = "coalesce(owner = %s, TRUE)"
    FORMER = "owner <> %s"


@transaction.atomic
def hold_messages(
    *,
    tenant: str,
    messages: Sequence[tuple[int, RawMessage]],
    until: Mapping[str, int],
    stamps: MutableMapping[int, datetime],
    error: Exception | None,
    now: datetime,
) -> BatchOutcome:
    """Keep messages of one tenant and listener; what is beyond the tenant's share is refused.

    `messages` are with their indexes, `until` as `record_deliveries` wants it; without `error` the last one stays. `stamps`
    are the times that the batch's messages have, and get here: the same at each try, so that what is held twice is stored once.
    """
    if not messages:
        return BatchOutcome(0, 0, [])
    backlog, _ = HeldBacklog.objects.select_for_update().get_or_create(tenant=tenant, defaults={"since": now})
    owner = Tenant.objects.filter(slug=tenant).values_list("pk", flat=True).first()  # not from a cache: it may be a new one
    repeated = find_duplicates({index: message for index, message in messages if message.delivery is not None})
    others = HeldBacklog.objects.exclude(tenant=tenant).aggregate(bytes=Sum("bytes"))["bytes"] or 0
    rows: list[HeldMessage] = []
    refusals: list[Refusal] = []
    for index, message in messages:
        if index in repeated:
            continue
        if backlog.bytes >= settings.IIOT_HELD_MAX_BYTES or others + backlog.bytes >= settings.IIOT_HELD_MAX_TOTAL_BYTES:
            refusals.append(Refusal(index, FULL, _FULL_DETAIL))
            continue
        if index not in stamps:
            stamps[index] = _claim_time(message)
        row = _make_row(message, stamps[index], owner)
        backlog.messages, backlog.bytes = backlog.messages + 1, backlog.bytes + row.size
        rows.append(row)
    refused = {refusal.index for refusal in refusals}
    HeldMessage.objects.bulk_create(rows, batch_size=1_000)
    known = [message for index, message in messages if message.delivery is not None and index not in refused]
    record_deliveries(known, delivery_until=until)  # copies, too: the memory of the first one passes over to them
    if error is not None:
        backlog.last_error = f"{type(error).__name__}: {error}"[:500]
    if backlog.messages:
        backlog.save()
    else:  # nothing but copies of what has been stored meanwhile
        backlog.delete()
    if refusals:
        count_unrouted(listener=messages[0][1].protocol, messages=len(refusals), now=now)
    return BatchOutcome(0, 0, refusals, frozenset(refused), len(rows))


@dataclass(frozen=True, slots=True)
class TakenRows:
    """Messages that were held, as they were kept."""

    messages: Sequence[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages that were held, and by their places the time that each one's values without a time have."""

    messages: Sequence[RawMessage]
    stamps: Mapping[int, datetime]
    rows: TakenRows


def take_rows(
    *, tenant: str, limit: int, max_bytes: int, before: datetime = LAST_MOMENT, whose: Whose = Whose.OWN, owner: UUID | None
) -> TakenRows:
    """Delete and return the owner's oldest messages, at least one where any was received earlier than `before`; anybody's without an owner.

    None while another transaction has taken some of the tenant's. `note_stored` ends that transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"held {tenant}"])
        if not cursor.fetchone()[0]:
            return TakenRows((), 0)
        cursor.execute(_TAKE_SQL.format(whose=whose), [tenant, before, owner, limit, max_bytes])
        found = [(number, bytes(message)) for number, message in cursor.fetchall()]
    if found:
        HeldMessage.objects.filter(pk__in=[number for number, _ in found]).delete()
    return TakenRows([message for _, message in found], sum(len(message) for _, message in found))


def take_held(*, tenant: str, owner: UUID | None, limit: int, max_bytes: int) -> Taken:
    """Take the owner's oldest messages as `take_rows` does, in the transaction that stores them; anybody's where there is no owner.

    Raises:
        msgspec.MsgspecError: a version that knew messages otherwise held one of them.
    """
    rows = take_rows(tenant=tenant, limit=limit, max_bytes=max_bytes, owner=owner)
    messages = [msgspec.msgpack.decode(message, type=RawMessage) for message in rows.messages]
    return Taken(
        [replace(message, received_at=put_on_own_clock(message.received_at)) for message in messages],
        {index: message.received_at for index, message in enumerate(messages)},
        rows,
    )


def decode_held(message: bytes) -> RawMessage | None:
    """Return a message with its time by the database's clock; None where it cannot be read."""
    try:
        return msgspec.msgpack.decode(message, type=RawMessage)
    except msgspec.MsgspecError:
        return None


def note_stored(taken: TakenRows, *, tenant: str) -> None:
    """Take them off the backlog. Last in the transaction: listeners that hold more of the tenant wait for the backlog's row."""
    backlog = HeldBacklog.objects.filter(tenant=tenant)
    backlog.update(messages=F("messages") - len(taken.messages), bytes=F("bytes") - taken.size)
    backlog.filter(messages__lte=0).delete()


def list_backlogs() -> list[HeldBacklog]:
    """Return what is held, of all tenants."""
    return list(HeldBacklog.objects.all())


def note_failure(*, tenant: str, error: Exception) -> None:
    """Note why the held messages of a tenant could not be stored."""
    HeldBacklog.objects.filter(tenant=tenant).update(last_error=f"{type(error).__name__}: {error}"[:500])


def _claim_time(message: RawMessage) -> datetime:
    """Return a time of receipt that leaves room for as many values without a time as the message can have."""
    return claim_receipt_time(
        tenant=message.tenant,
        device=message.device,
        received_at=put_on_database_clock(message.received_at),
        ticks=max(1, len(message.payload)),
    )


def _make_row(message: RawMessage, received_at: datetime, owner: UUID | None) -> HeldMessage:
    encoded = msgspec.msgpack.encode(replace(message, delivery=None, received_at=received_at))
    return HeldMessage(tenant=message.tenant, owner=owner, received_at=received_at, size=len(encoded), message=encoded)
