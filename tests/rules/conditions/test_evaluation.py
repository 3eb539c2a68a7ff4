"""What a reading changes: hysteresis, event time, quality."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.conditions.evaluation import Change, Sample, SeriesState, evaluate
from rules.conditions.threshold import OPERATORS, Operator, Threshold

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(condition: Threshold, *values: float, state: SeriesState | None = None) -> list[Change | None]:
    """Return the change that each value brings, one second apart."""
    changes = []
    state = state or SeriesState()
    for second, value in enumerate(values):
        decision = evaluate(condition, state, Sample(NOW + timedelta(seconds=second), value, 0))
        state = decision.state
        changes.append(decision.change)
    return changes


@pytest.mark.parametrize(
    ("operator", "met", "not_met"), [(">", 81, 80), (">=", 80, 79), ("<", 79, 80), ("<=", 80, 81), ("==", 80, 81), ("!=", 81, 80)]
)
def test_each_operator_triggers_and_resolves(operator: Operator, met: float, not_met: float) -> None:
    assert run(Threshold("t", operator, 80), not_met, met, met, not_met, not_met) == [None, "trigger", None, "resolve", None]


def test_between_the_thresholds_nothing_changes() -> None:
    above = Threshold("t", ">", 80, clear_threshold=75)
    assert run(above, 78, 81, 78, 75.1, 75, 78) == [None, "trigger", None, None, "resolve", None]
    below = Threshold("t", "<", 10, clear_threshold=12)
    assert run(below, 11, 9, 11, 12) == [None, "trigger", None, "resolve"]


@pytest.mark.parametrize("seconds", [0, -1, -3600])
def test_a_reading_not_newer_than_the_newest_decides_nothing(seconds: int) -> None:
    state = SeriesState(is_firing=False, last_ts=NOW)
    decision = evaluate(Threshold("t", ">", 80), state, Sample(NOW + timedelta(seconds=seconds), 99, 0))
    assert (decision.change, decision.state) == (None, state)


def test_a_bad_reading_decides_nothing_and_does_not_count_as_the_newest() -> None:
    state = SeriesState()
    assert evaluate(Threshold("t", ">", 80), state, Sample(NOW, 99, 2)).state is state
    assert evaluate(Threshold("t", ">", 80), state, Sample(NOW, 99, 1)).change == "trigger"


@st.composite
def thresholds(draw: st.DrawFn) -> Threshold:
    operator = draw(st.sampled_from(OPERATORS))
    threshold = draw(st.floats(-100, 100))
    width = draw(st.none() | st.floats(0, 50))
    if width is None or operator in {"==", "!="}:
        return Threshold("t", operator, threshold)
    return Threshold("t", operator, threshold, threshold - width if ">" in operator else threshold + width)


SAMPLES = st.lists(st.tuples(st.integers(0, 50), st.floats(-200, 200), st.integers(0, 2)), max_size=40)


@given(thresholds(), SAMPLES)
def test_triggers_and_resolves_alternate_whatever_arrives_in_whatever_order(
    condition: Threshold, samples: list[tuple[int, float, int]]
) -> None:
    state, changes = SeriesState(), []
    for second, value, quality in samples:
        before = state
        decision = evaluate(condition, state, Sample(NOW + timedelta(seconds=second), value, quality))
        state = decision.state
        assert (decision.change is not None) == (state.is_firing != before.is_firing)
        assert before.last_ts is None or (state.last_ts is not None and state.last_ts >= before.last_ts)
        if decision.change:
            changes.append(decision.change)
    expected: list[Change] = ["trigger", "resolve"]
    assert changes == [expected[index % 2] for index in range(len(changes))]


@given(thresholds(), SAMPLES)
def test_the_same_readings_a_second_time_change_nothing(condition: Threshold, samples: list[tuple[int, float, int]]) -> None:
    state = SeriesState()
    for second, value, quality in samples:
        state = evaluate(condition, state, Sample(NOW + timedelta(seconds=second), value, quality)).state
    for second, value, quality in samples:
        assert evaluate(condition, state, Sample(NOW + timedelta(seconds=second), value, quality)).state == state
