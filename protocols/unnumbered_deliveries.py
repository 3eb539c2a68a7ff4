"""Recognises messages of a broker without stable numbers (AMQP 0-9-1) that come again although they were committed.

Only a flag says that a message may have been delivered before, and everything in flight carries it. So what a message
without times of its own says is remembered from its commit until the broker has taken the acknowledgement, and each
memory accounts for one copy. Why it is so: docs/decisions/0007.
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from protocols.models import DeliveryWindow
from protocols.types import Delivery, RawMessage

CONSUMER_START = "amqp/"
_SERIAL_MASK = 0x7FFF_FFFF
_recorded_until: dict[str, int] = {}  # by consumer: what was written by this process

Entry = tuple[int, int]  # serial number of the delivery, digest


def next_count(previous: int) -> int:
    """Return a delivery's number: microseconds since 1970, never the same one twice in a process."""
    return max(previous + 1, time.time_ns() // 1_000)


def digest_copy(message: RawMessage) -> int:
    """Return 64 bits of BLAKE2b over the key and the publisher's message id, or where it set none the payload."""
    delivery = message.delivery
    said = b"\1" + delivery.message_id.encode() if delivery and delivery.message_id else b"\0" + message.payload
    digest = hashlib.blake2b(message.source.encode() + said, digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def find_copies(messages: Mapping[int, RawMessage]) -> set[int]:
    """Return the indexes of messages that are committed already, or come earlier in the batch by a former connection.

    Inside the transaction that stores the batch. A batch that we try again is known by its numbers, a message that the
    broker sends again by what it says. The memory of a committed message passes over to its copy.
    """
    copies = set(_pair_up(messages))
    suspects = {i: m for i, m in messages.items() if i not in copies and m.delivery and (m.delivery.is_redelivery or m.delivery.is_retry)}
    if not suspects:
        return copies
    rows = list(DeliveryWindow.objects.select_for_update().filter(consumer__startswith=CONSUMER_START).order_by("delivery_until"))
    known: dict[int, list[int]] = defaultdict(list)  # serial numbers by digest
    for row in rows:
        for serial, digest in zip(row.numbers, row.digests, strict=True):
            known[digest].append(serial)
    used: Counter[Entry] = Counter()
    for index, message in suspects.items():
        digest = digest_copy(message)
        chosen = _choose_serial(message, known[digest])
        if chosen is not None:
            known[digest].remove(chosen)
            used[chosen, digest] += 1
            copies.add(index)
    _take_out(rows, used)
    return copies


def record_copies(messages: Iterable[RawMessage]) -> None:
    """Remember, in the transaction that stores them, messages that could not be told from their own repetition."""
    numbered = dict(enumerate(messages))
    passed_over = set(_pair_up(numbered).values())
    batches: dict[str, list[RawMessage]] = defaultdict(list)
    for index, message in numbered.items():
        if index not in passed_over:
            batches[_delivery(message).consumer].append(message)
    for consumer, batch in batches.items():
        until = max(_delivery(message).count for message in batch)
        DeliveryWindow.objects.create(
            consumer=consumer,
            delivery_until=until,
            numbers=[_serial(message) for message in batch],
            digests=[digest_copy(message) for message in batch],
        )
        _recorded_until[consumer] = max(until, _recorded_until.get(consumer, 0))


def has_recorded(*, consumer: str) -> bool:
    """Tell whether this process may have written memories for that connection since they were forgotten last."""
    return consumer in _recorded_until


def forget_confirmed(*, consumer: str, until: int) -> None:
    """Delete the memories of messages whose acknowledgement the broker has taken."""
    DeliveryWindow.objects.filter(consumer=consumer, delivery_until__lte=until).delete()
    if _recorded_until.get(consumer, 0) <= until:
        _recorded_until.pop(consumer, None)


def forget_older(*, than: int) -> None:
    """Delete memories whose messages would have come again by now; `than` is a delivery's number."""
    DeliveryWindow.objects.filter(consumer__startswith=CONSUMER_START, delivery_until__lte=than).delete()


def _delivery(message: RawMessage) -> Delivery:
    if message.delivery is None:
        raise ValueError("only deliveries of a broker come again")
    return message.delivery


def _serial(message: RawMessage) -> int:
    return _delivery(message).count & _SERIAL_MASK


def _pair_up(messages: Mapping[int, RawMessage]) -> dict[int, int]:
    """Return copy → original where both are in the batch: a former connection brought one, its successor the other."""
    if len({_delivery(message).consumer for message in messages.values()}) < 2:
        return {}
    waiting: dict[int, list[int]] = defaultdict(list)
    pairs: dict[int, int] = {}
    for index, message in messages.items():
        originals = waiting[digest_copy(message)]
        first = next((i for i in originals if _delivery(messages[i]).consumer != _delivery(message).consumer), None)
        if _delivery(message).is_redelivery and first is not None:
            originals.remove(first)
            pairs[index] = first
        originals.append(index)
    return pairs


def _choose_serial(message: RawMessage, known: Sequence[int]) -> int | None:
    """Return which memory the message is a copy of. A batch of our own that failed is only ever its own copy."""
    if _serial(message) in known:
        return _serial(message)
    return known[0] if known and _delivery(message).is_redelivery else None


def _take_out(rows: Iterable[DeliveryWindow], used: Counter[Entry]) -> None:
    """Take used memories out of their rows; the caller's batch records them again under its own numbers."""
    if not used:
        return
    for row in rows:
        kept = []
        for entry in zip(row.numbers, row.digests, strict=True):
            if used[entry]:
                used[entry] -= 1
            else:
                kept.append(entry)
        if not kept:
            row.delete()
        elif len(kept) < len(row.digests):
            row.numbers, row.digests = [serial for serial, _ in kept], [digest for _, digest in kept]
            row.save(update_fields=["numbers", "digests"])
