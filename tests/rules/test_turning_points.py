"""Only readings that may change the state of a rule are urgent."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from rules.conditions.evaluation import Sample, SeriesState, evaluate
from rules.conditions.threshold import Threshold
from rules.turning_points import TurningPoints

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
SERIES = ("t_acme", 1, 1)
HOT = Threshold(metric="temperature", operator=">", threshold=80, clear_threshold=70)


def turns(values: list[float], condition: Threshold = HOT) -> list[bool]:
    points = TurningPoints()
    return [points.may_turn(SERIES, (condition,), NOW + timedelta(seconds=n), value) for n, value in enumerate(values)]


def test_the_first_reading_may_turn_and_then_those_that_cross_the_threshold() -> None:
    assert turns([20, 21, 81, 90, 75, 69, 75, 81]) == [True, False, True, False, False, True, False, True]


def test_what_depends_on_a_state_that_nobody_knows_may_turn_once_it_is_known() -> None:
    assert turns([75, 76, 20, 75]) == [True, False, True, False]


def test_a_late_reading_turns_nothing_and_is_not_remembered() -> None:
    points = TurningPoints()
    told = [points.may_turn(SERIES, (HOT,), NOW + timedelta(seconds=second), value) for second, value in ((5, 20), (3, 99), (6, 99))]
    assert told == [True, False, True]


def test_another_condition_may_turn() -> None:
    points = TurningPoints()
    assert points.may_turn(SERIES, (HOT,), NOW, 20)
    assert points.may_turn(SERIES, (HOT, Threshold(metric="temperature", operator=">", threshold=10)), NOW + timedelta(seconds=1), 20)


def test_series_and_tenants_are_kept_apart() -> None:
    points = TurningPoints()
    places = [(schema, device, metric) for schema in ("t_acme", "t_globex") for device in (1, 2) for metric in (1, 2)]
    assert all(points.may_turn(place, (HOT,), NOW, 20) for place in places)
    assert not any(points.may_turn(place, (HOT,), NOW + timedelta(seconds=1), 20) for place in places)


conditions = st.builds(Threshold, st.just("m"), st.sampled_from([">", "<", "=="]), st.sampled_from([0.0, 2.0]))


@given(
    conditions | st.just(HOT),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([-1.0, 0.0, 1.0, 2.0, 75.0, 99.0])), max_size=12),
)
def test_no_change_of_a_rule_goes_unnoticed(condition: Threshold, is_firing: bool, readings: list[tuple[int, float]]) -> None:
    points, state = TurningPoints(), SeriesState(is_firing)
    for second, value in readings:
        ts = NOW + timedelta(seconds=second)
        decision = evaluate(condition, state, Sample(ts, value, 0))
        may_turn = points.may_turn(SERIES, (condition,), ts, value)
        assert may_turn or decision.change is None
        state = decision.state
