"""Turns what became of a batch into few acknowledgements. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from protocols.types import RawMessage


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to tell the broker on one connection: refuse these deliveries, acknowledge all others up to `until` (0: none).

    `count` is the number of the last delivery that is settled.
    """

    consumer: str
    refused: Sequence[int]
    until: int
    count: int


def plan_settlement(batch: Sequence[RawMessage], refused: Collection[int]) -> Settlement | None:
    """Return how to settle a batch, given the indexes of its refused messages; None where it holds no deliveries.

    Only the newest connection counts: what an earlier one brought comes again on it. A connection's deliveries are
    numbered in order and all of them come by here, so one acknowledgement covers everything up to the batch's last.
    """
    deliveries = [(index, message.delivery) for index, message in enumerate(batch) if message.delivery is not None]
    if not deliveries:
        return None
    last = deliveries[-1][1]
    current = [(index, delivery.packet_id) for index, delivery in deliveries if delivery.consumer == last.consumer]
    accepted = [tag for index, tag in current if index not in refused]
    return Settlement(last.consumer, [tag for index, tag in current if index in refused], accepted[-1] if accepted else 0, last.count)
