"""Rules are told at once, but only so often, and of every series."""

from datetime import UTC, datetime, timedelta

from protocols.rules_gate import RulesGate
from rules.types import SeriesSince

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


def make_gate() -> tuple[RulesGate, list[tuple[str, SeriesSince]]]:
    told: list[tuple[str, SeriesSince]] = []
    return RulesGate(tell=lambda schema, since: told.append((schema, since)), pause_seconds=0.2), told


def test_a_lone_batch_is_told_at_once() -> None:
    gate, told = make_gate()
    gate.add("t_acme", {(1, 1): NOW}, is_urgent=True, now_seconds=100.0)
    gate.tell_due(100.0)
    assert told == [("t_acme", {(1, 1): NOW})]
    assert gate.wait_seconds(100.0) is None


def test_batches_within_the_pause_become_one_with_the_oldest_times() -> None:
    gate, told = make_gate()
    for at, since in ((100.0, {(9, 9): NOW}), (100.05, {(1, 1): LATER, (2, 1): NOW}), (100.1, {(1, 1): NOW})):
        gate.add("t_acme", since, is_urgent=True, now_seconds=at)
        gate.tell_due(at)
    assert len(told) == 1
    assert 0.09 < (gate.wait_seconds(100.1) or 0) < 0.11
    gate.tell_due(100.21)
    assert told[1:] == [("t_acme", {(1, 1): NOW, (2, 1): NOW})]


def test_one_busy_tenant_holds_no_other_up() -> None:
    gate, told = make_gate()
    for _ in range(2):
        gate.add("t_acme", {(1, 1): NOW}, is_urgent=True, now_seconds=100.0)
        gate.tell_due(100.0)
    gate.add("t_globex", {(5, 5): NOW}, is_urgent=True, now_seconds=100.01)
    gate.tell_due(100.01)
    assert [schema for schema, _ in told] == ["t_acme", "t_globex"]


def test_nothing_to_tell_is_not_told() -> None:
    gate, told = make_gate()
    gate.add("t_acme", {}, is_urgent=True, now_seconds=100.0)
    gate.tell_due(100.0)
    assert told == []


def test_what_waits_at_the_end_is_told() -> None:
    gate, told = make_gate()
    gate.add("t_acme", {(1, 1): NOW}, is_urgent=True, now_seconds=100.0)
    gate.tell_due(100.0)
    gate.add("t_acme", {(2, 1): NOW}, is_urgent=False, now_seconds=100.0)
    gate.tell_all()
    assert told[1:] == [("t_acme", {(2, 1): NOW})]


def test_what_is_not_urgent_waits_for_company_but_not_for_ever() -> None:
    gate, told = make_gate()
    gate.add("t_acme", {(1, 1): NOW}, is_urgent=False, now_seconds=100.0)
    gate.add("t_acme", {(1, 1): LATER, (2, 1): NOW}, is_urgent=False, now_seconds=105.0)
    gate.tell_due(105.0)
    assert told == []
    assert gate.wait_seconds(105.0) == 5.0
    gate.tell_due(110.0)
    assert told == [("t_acme", {(1, 1): NOW, (2, 1): NOW})]


def test_what_is_urgent_takes_along_what_waits() -> None:
    gate, told = make_gate()
    gate.add("t_acme", {(1, 1): NOW}, is_urgent=False, now_seconds=100.0)
    gate.add("t_globex", {(5, 5): NOW}, is_urgent=False, now_seconds=100.0)
    gate.add("t_acme", {(2, 1): NOW}, is_urgent=True, now_seconds=101.0)
    gate.tell_due(101.0)
    assert told == [("t_acme", {(1, 1): NOW, (2, 1): NOW})]


def test_patience_begins_anew_after_telling() -> None:
    gate, told = make_gate()
    for at in (100.0, 109.0):
        gate.add("t_acme", {(1, 1): NOW}, is_urgent=at == 100.0, now_seconds=at)
        gate.tell_due(at)
    gate.tell_due(111.0)
    assert len(told) == 1
    gate.tell_due(119.0)
    assert len(told) == 2
