"""A timeline to read: runs of what the platform wrote by itself, such as resolved and came back, are folded into one entry."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from alerting.models import IncidentEvent

LONGEST_UNFOLDED = 3
_BY_ITSELF = frozenset(
    {
        IncidentEvent.Kind.ALERT_JOINED,
        IncidentEvent.Kind.ALERT_RESOLVED,
        IncidentEvent.Kind.ALERT_WITHDRAWN,
        IncidentEvent.Kind.RESOLVED,
        IncidentEvent.Kind.REOPENED,
    }
)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the page, of one event or of many; the newest first."""

    events: Sequence[IncidentEvent]

    @property
    def event(self) -> IncidentEvent:
        """The newest event."""
        return self.events[0]

    @property
    def oldest(self) -> IncidentEvent:
        """The oldest event."""
        return self.events[-1]

    @property
    def is_folded(self) -> bool:
        """Whether it stands for many."""
        return len(self.events) > 1

    @property
    def times_back(self) -> int:
        """How often the incident came back meanwhile."""
        return sum(event.kind == IncidentEvent.Kind.REOPENED for event in self.events)


def fold_timeline(events: Sequence[IncidentEvent]) -> list[TimelineEntry]:
    """Return the entries of a timeline, the newest first as the events are. The newest event of all always stands alone."""
    entries = [TimelineEntry([event]) for event in events[:1]]
    for is_by_itself, run in groupby(events[1:], key=_is_by_itself):
        together = list(run)
        if is_by_itself and len(together) > LONGEST_UNFOLDED:
            entries.append(TimelineEntry(together))
        else:
            entries += [TimelineEntry([event]) for event in together]
    return entries


def _is_by_itself(event: IncidentEvent) -> bool:
    return event.kind in _BY_ITSELF and not event.actor_name
