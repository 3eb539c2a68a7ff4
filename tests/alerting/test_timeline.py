"""A timeline is folded where the platform repeats itself, and nowhere else."""

from datetime import timedelta

from alerting.models import IncidentEvent
from alerting.timeline import fold_timeline
from tests.alerting.conftest import NOW


def events(*kinds: str) -> list[IncidentEvent]:
    """Return events, the first one the newest; a name after a colon is a person's."""
    split = [(*kind.split(":"), "")[:2] for kind in kinds]
    return [IncidentEvent(kind=kind, actor_name=name, at=NOW - timedelta(seconds=n)) for n, (kind, name) in enumerate(split)]


def shown(*kinds: str) -> list[str | int]:
    return [len(entry.events) if entry.is_folded else entry.event.kind for entry in fold_timeline(events(*kinds))]


CYCLE = ("resolved", "alert_resolved", "reopened")


def test_what_comes_and_goes_by_itself_is_one_entry_below_the_newest() -> None:
    assert shown("reopened", *CYCLE * 3, "opened") == ["reopened", 9, "opened"]
    [_, folded, _] = fold_timeline(events("reopened", *CYCLE * 3, "opened"))
    assert (folded.times_back, folded.event.kind, folded.oldest.kind) == (3, "resolved", "reopened")


def test_what_people_did_stands_alone_and_splits_what_is_folded() -> None:
    assert shown("noted:Ann", *CYCLE * 2, "acknowledged:Ann", *CYCLE * 2) == ["noted", 6, "acknowledged", 6]
    assert shown("noted:Ann", "resolved:Ann", "resolved:Ann", "resolved:Ann", "resolved:Ann") == ["noted", *["resolved"] * 4]


def test_few_entries_are_not_folded() -> None:
    assert shown(*CYCLE, "opened") == [*CYCLE, "opened"]
    assert shown() == []
