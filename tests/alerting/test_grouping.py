"""Which incident a signal belongs to."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from alerting.grouping import Candidate, Placement, place_signal
from alerting.severities import is_worse, worse_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WITHIN = timedelta(minutes=5)


def candidate(*, key: str = "k", resolved_ago: timedelta | None = None, automatically: bool = True) -> Candidate:
    return Candidate(uuid.uuid4(), key, None if resolved_ago is None else NOW - resolved_ago, automatically and resolved_ago is not None)


def place(*candidates: Candidate) -> Placement:
    return place_signal(dedup_key="k", candidates=candidates, now=NOW, reopen_within=WITHIN)


def test_it_opens_where_nothing_is_known() -> None:
    assert place() == Placement("open")


def test_it_joins_the_open_incident_of_its_key() -> None:
    resolved, opened = candidate(resolved_ago=timedelta(seconds=1)), candidate()
    assert place(resolved, opened) == Placement("join", opened.incident_id)


def test_it_leaves_incidents_of_other_keys_alone() -> None:
    assert place(candidate(key="other")) == Placement("open")


@pytest.mark.parametrize(("ago", "action"), [(0, "reopen"), (300, "reopen"), (301, "open")])
def test_it_reopens_what_resolved_by_itself_only_within_grace(ago: int, action: str) -> None:
    assert place(candidate(resolved_ago=timedelta(seconds=ago))).action == action


def test_what_a_person_resolved_stays_resolved() -> None:
    assert place(candidate(resolved_ago=timedelta(seconds=1), automatically=False)) == Placement("open")


def test_only_the_newest_of_its_key_can_come_back() -> None:
    by_person, by_itself = candidate(resolved_ago=timedelta(0), automatically=False), candidate(resolved_ago=timedelta(seconds=9))
    assert place(by_person, by_itself) == Placement("open")


def test_a_severity_only_rises() -> None:
    assert worse_of("low", "critical") == worse_of("critical", "low") == "critical"
    assert not is_worse("high", "high")
