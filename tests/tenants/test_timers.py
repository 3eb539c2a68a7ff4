from datetime import UTC, datetime, timedelta

import pytest

from tenants.models import Timer
from tenants.timers import LEASE, claim_due_timers, finish_timer, hasten_timers, set_timer

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def claimed(now: datetime = NOW) -> list[str]:
    return [timer.schema for timer in claim_due_timers(kind="tea", now=now)]


def test_what_is_due_is_claimed_once_and_comes_again_when_nobody_finishes_it() -> None:
    set_timer(schema="t_acme", kind="tea", due_at=NOW)
    set_timer(schema="t_globex", kind="tea", due_at=NOW + SECOND)
    set_timer(schema="t_acme", kind="coffee", due_at=NOW)
    assert claimed() == ["t_acme"]
    assert claimed() == []
    assert sorted(claimed(NOW + LEASE)) == ["t_acme", "t_globex"]


def test_the_earlier_time_counts() -> None:
    set_timer(schema="t_acme", kind="tea", due_at=NOW)
    set_timer(schema="t_acme", kind="tea", due_at=NOW + SECOND)
    assert Timer.objects.get().due_at == NOW
    set_timer(schema="t_acme", kind="tea", due_at=NOW - SECOND)
    assert Timer.objects.get().due_at == NOW - SECOND
    hasten_timers(kind="tea", due_at=NOW - 2 * SECOND)
    assert Timer.objects.get().due_at == NOW - 2 * SECOND


def test_who_finishes_says_when_it_is_due_next_unless_somebody_wants_it_earlier() -> None:
    set_timer(schema="t_acme", kind="tea", due_at=NOW)
    [timer] = claim_due_timers(kind="tea", now=NOW)
    finish_timer(timer=timer, next_due_at=NOW + timedelta(hours=1))
    assert Timer.objects.get().due_at == NOW + timedelta(hours=1)
    [timer] = claim_due_timers(kind="tea", now=NOW + timedelta(hours=1))
    set_timer(schema="t_acme", kind="tea", due_at=NOW + timedelta(hours=1, seconds=1))
    finish_timer(timer=timer, next_due_at=None)
    assert Timer.objects.get().due_at == NOW + timedelta(hours=1, seconds=1)
    [timer] = claim_due_timers(kind="tea", now=NOW + timedelta(hours=2))
    finish_timer(timer=timer, next_due_at=None)
    assert not Timer.objects.exists()
