"""The ledger method: what was acknowledged to senders against what the database holds. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Log:
    """What one sender did: sequence numbers sent, and those that it was told are safe."""

    sent: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Tally:
    """`lost` were acknowledged and are not stored; `unexpected` are stored and were never sent."""

    sent: int
    acknowledged: int
    stored: int
    lost: int
    duplicated: int
    unexpected: int

    @property
    def is_clean(self) -> bool:
        return self.lost == self.duplicated == self.unexpected == 0

    def __str__(self) -> str:
        return (
            f"sent {self.sent:,}, acknowledged {self.acknowledged:,}, stored {self.stored:,}: "
            f"lost {self.lost}, duplicated {self.duplicated}, unexpected {self.unexpected}"
        )


def count(logs: Mapping[str, Log], stored: Mapping[str, Iterable[int]]) -> Tally:
    """Compare the senders' logs with the stored sequence numbers, both by sender."""
    held = {name: Counter(stored.get(name, ())) for name in logs}
    return Tally(
        sent=sum(len(log.sent) for log in logs.values()),
        acknowledged=sum(len(log.acknowledged) for log in logs.values()),
        stored=sum(numbers.total() for numbers in held.values()),
        lost=sum(len(log.acknowledged - held[name].keys()) for name, log in logs.items()),
        duplicated=sum(numbers.total() - len(numbers) for numbers in held.values()),
        unexpected=sum(len(held[name].keys() - log.sent) for name, log in logs.items()),
    )
