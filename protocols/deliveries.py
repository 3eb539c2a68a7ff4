"""Recognises messages that a broker sends again although they were committed: see `DeliveryWindow`."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from django.db.models.functions import Now

from protocols.models import DeliveryWindow
from protocols.types import Delivery, RawMessage
from protocols.unnumbered_deliveries import find_copies, record_copies

MAX_INFLIGHT = 15_000  # what the broker has in flight to us at most
# Only the messages in flight can come again, so older entries mean something else: mosquitto counts packet ids up
# from 1 to 65,535 and starts over, an id is used again 50,000 deliveries later at the earliest.
WINDOW_DELIVERIES = 2 * MAX_INFLIGHT
_recorded_until: dict[str, int] = {}  # by consumer; forgotten at restart, which costs one row


def message_digest(message: RawMessage) -> int:
    """Return 64 bits of BLAKE2b over topic and payload, as a signed integer."""
    digest = hashlib.blake2b(message.source.encode() + b"\0" + message.payload, digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def find_duplicates(messages: Mapping[int, RawMessage]) -> set[int]:
    """Return the indexes of redelivered messages that are committed already, or come earlier in the same batch."""
    unnumbered = {index: message for index, message in messages.items() if message.delivery and not message.delivery.is_numbered}
    duplicates = find_copies(unnumbered)
    seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
    committed: dict[str, set[tuple[int, int]]] = {}
    for index, message in messages.items():
        delivery = message.delivery
        if delivery is None or not delivery.is_numbered:
            continue
        key = (delivery.packet_id, message_digest(message))
        if delivery.is_redelivery or delivery.is_retry:
            if delivery.consumer not in committed:
                committed[delivery.consumer] = _load_window(delivery)
            if key in committed[delivery.consumer] or key in seen[delivery.consumer]:
                duplicates.add(index)
        seen[delivery.consumer].add(key)
    return duplicates


def record_deliveries(messages: Iterable[RawMessage], *, delivery_until: Mapping[str, int]) -> None:
    """Remember, in the transaction that stores them, messages that could not be told from their own repetition."""
    entries: dict[str, list[tuple[int, int]]] = defaultdict(list)
    unnumbered: list[RawMessage] = []
    for message in messages:
        if message.delivery is not None and not message.delivery.is_numbered:
            unnumbered.append(message)
        elif message.delivery is not None:
            entries[message.delivery.consumer].append((message.delivery.packet_id, message_digest(message)))
    record_copies(unnumbered)
    for consumer, until in delivery_until.items():
        # A row without entries now and then keeps the count true across a restart when all messages carry time stamps.
        if not entries[consumer] and until - _recorded_until.get(consumer, 0) < MAX_INFLIGHT:
            continue
        _recorded_until[consumer] = until
        DeliveryWindow.objects.create(
            consumer=consumer,
            delivery_until=until,
            numbers=[packet_id for packet_id, _ in entries[consumer]],
            digests=[digest for _, digest in entries[consumer]],
        )


def prune_deliveries(*, consumer: str, count: int) -> int:
    """Delete what can no longer come again; return how many rows went."""
    deleted, _ = DeliveryWindow.objects.filter(consumer=consumer, delivery_until__lte=count - WINDOW_DELIVERIES).delete()
    return deleted


def last_delivery_count(*, consumer: str) -> int:
    """Return where a starting consumer's count goes on."""
    latest = DeliveryWindow.objects.filter(consumer=consumer).order_by("-delivery_until").values_list("delivery_until", flat=True).first()
    return latest or 0


def _load_window(delivery: Delivery) -> set[tuple[int, int]]:
    rows = DeliveryWindow.objects.filter(consumer=delivery.consumer, delivery_until__gt=delivery.count - WINDOW_DELIVERIES)
    if delivery.lifetime_seconds and not delivery.is_retry:  # a batch that we try again is the same one however long that takes
        rows = rows.filter(recorded_at__gt=Now() - timedelta(seconds=delivery.lifetime_seconds))
    pairs = rows.values_list("numbers", "digests")
    return {pair for numbers, digests in pairs for pair in zip(numbers, digests, strict=True)}


def highest_counts(messages: Sequence[RawMessage]) -> dict[str, int]:
    """Return each numbered consumer's count at the end of the batch."""
    counts: dict[str, int] = {}
    for message in messages:
        if message.delivery is not None and message.delivery.is_numbered:
            counts[message.delivery.consumer] = max(counts.get(message.delivery.consumer, 0), message.delivery.count)
    return counts
