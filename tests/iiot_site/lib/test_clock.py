"""The database's clock, as far as one can tell it from here."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from iiot_site.lib import clock

ASKED_AT = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    clock._measured.clear()
    yield
    clock._measured.clear()


@pytest.mark.parametrize(
    ("told", "answered", "offset"),
    [
        (0.04, 0.1, 0),
        (120.05, 0.1, 120),
        (-119.95, 0.1, -120),
        (9, 10, 0),  # asked a busy database, which looked at its clock late
        (125, 10, 120),
    ],
)
def test_a_clock_differs_only_where_a_slow_answer_does_not_explain_it(
    told: float, answered: float, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([ASKED_AT, ASKED_AT + timedelta(seconds=answered)])
    monkeypatch.setattr(clock, "datetime", SimpleNamespace(now=lambda _zone: next(moments)))
    monkeypatch.setattr(clock, "database_now", lambda: ASKED_AT + timedelta(seconds=told))
    assert clock.clock_offset() == timedelta(seconds=offset)
    assert clock.clock_offset() == timedelta(seconds=offset), "it is remembered"
