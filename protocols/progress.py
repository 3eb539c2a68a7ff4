"""How far a batch has got, so that trying it again stores nothing twice. Pure."""

from collections.abc import Collection, Mapping
from datetime import datetime

from protocols.types import BatchOutcome


class Progress:
    """What became of the messages of one batch, by their indexes, over all its tries.

    `stamps` are the times that values without one got: where a commit's confirmation was lost, the next try brings the
    same times, and with them the same readings. Messages that were held bring theirs.
    """

    def __init__(self, stamps: Mapping[int, datetime] | None = None) -> None:
        self.stamps = dict(stamps or {})
        self._done: set[int] = set()
        self._outcomes: list[BatchOutcome] = []

    def is_done(self, index: int) -> bool:
        """Tell whether the message needs no further try."""
        return index in self._done

    def finish(self, indexes: Collection[int], outcome: BatchOutcome) -> None:
        """Note what became of some messages, now that it is committed."""
        self._done.update(indexes)
        self._outcomes.append(outcome)

    def sum_up(self) -> BatchOutcome:
        """Return what became of all of them."""
        return BatchOutcome(
            stored=sum(outcome.stored for outcome in self._outcomes),
            duplicates=sum(outcome.duplicates for outcome in self._outcomes),
            refusals=sorted((r for outcome in self._outcomes for r in outcome.refusals), key=lambda r: r.index),
            refused=frozenset().union(*(outcome.refused for outcome in self._outcomes)),
            held=sum(outcome.held for outcome in self._outcomes),
        )
