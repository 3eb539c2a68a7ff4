"""Counts what became of a batch, for the ingest ledger. Pure.

The unit is a value; a message that was refused as a whole, readable or not, counts as one. What was received is counted
from the messages and the rest from what was done with them, so that received = stored + duplicate + rejected says something.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from protocols.types import Refusal
from telemetry.types import IngestCount, StoreOutcome


def count_repeated(sample_count: int) -> int:
    """Return what a message that was sent again counts: its values, one where it has none."""
    return max(1, sample_count)


def find_refused(sample_counts: Mapping[int, int], refusals: Sequence[Refusal]) -> frozenset[int]:
    """Return the indexes of messages of which nothing was accepted: refused as a whole, or every value of them."""
    values = Counter(refusal.index for refusal in refusals if refusal.metric is not None)
    whole = {refusal.index for refusal in refusals if refusal.metric is None}
    return frozenset(whole | {index for index, count in values.items() if count == sample_counts[index]})


def count_ingest(
    *, listener: str, sample_counts: Mapping[int, int], repeated: Collection[int], refusals: Sequence[Refusal], outcome: StoreOutcome
) -> IngestCount:
    """Return the ledger's entry for messages of one listener; `sample_counts` has the values of each, by its index."""
    whole = {refusal.index for refusal in refusals if refusal.metric is None}
    received = again = 0
    for index, samples in sample_counts.items():
        if index in repeated:
            again += count_repeated(samples)
        else:
            received += 1 if index in whole else samples
    return IngestCount(
        listener=listener,
        received=received + again,
        stored=outcome.stored,
        duplicate=outcome.duplicates + again,
        rejected_by_reason=Counter(refusal.reason for refusal in refusals),
        messages=len(sample_counts),
        messages_repeated=len(repeated),
        messages_rejected=len(find_refused(sample_counts, refusals)),
        stored_by_day=outcome.stored_by_day,
    )
