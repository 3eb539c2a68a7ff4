from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telemetry.rollup_plan import HOUR, MINUTE, WIDTHS, Source, Unit, ceil, coarsest_unit, floor, next_fold, plan_sources

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
offsets = st.integers(-20_000, 20_000).map(lambda seconds: NOON + timedelta(seconds=seconds / 3))


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_hours_minutes_and_readings_follow_each_other() -> None:
    plan = plan_sources(start=at(-61.5), end=at(150), folded_until=at(125), coarsest=Unit.HOUR)
    assert plan == [
        Source(Unit.READING, at(-61.5), at(-61)),
        Source(Unit.MINUTE, at(-61), at(-60)),
        Source(Unit.HOUR, at(-60), at(120)),
        Source(Unit.MINUTE, at(120), at(125)),
        Source(Unit.READING, at(125), at(150)),
    ]


@given(start=offsets, end=offsets, folded_until=offsets, coarsest=st.sampled_from(Unit))
def test_a_plan_covers_the_span_once_and_takes_roll_ups_only_where_they_are(
    start: datetime, end: datetime, folded_until: datetime, coarsest: Unit
) -> None:
    plan = plan_sources(start=start, end=end, folded_until=folded_until, coarsest=coarsest)
    assert all(earlier.end == later.start for earlier, later in pairwise(plan))
    assert (plan[0].start, plan[-1].end) == (start, end) if start < end else plan == []
    for source in plan:
        assert source.start < source.end
        if width := WIDTHS.get(source.unit):
            assert source.end <= folded_until
            assert floor(source.start, width) == source.start == ceil(source.start, width)
            assert floor(source.end, width) == source.end


def test_the_unit_is_the_longest_that_fits_every_bucket() -> None:
    assert coarsest_unit([NOON, NOON + HOUR]) == Unit.HOUR
    assert coarsest_unit([NOON, NOON + 90 * MINUTE]) == Unit.MINUTE
    assert coarsest_unit([NOON, NOON + timedelta(seconds=30)]) == Unit.READING
    assert coarsest_unit([datetime(1971, 1, 1, 0, 44, 30, tzinfo=UTC)]) == Unit.READING  # as Liberia's clocks were


def test_folding_goes_on_in_small_spans_and_skips_days_without_readings() -> None:
    days = {date(2026, 11, 20), date(2026, 11, 25)}
    assert next_fold(folded_until=at(3), closed_until=at(600), days=days) == (at(3), at(60))
    assert next_fold(folded_until=at(10), closed_until=at(12), days=days) == (at(10), at(12))
    later = datetime(2026, 11, 25, tzinfo=UTC)
    assert next_fold(folded_until=at(24 * 60), closed_until=at(10_000), days=days) == (later, later + HOUR)
    assert next_fold(folded_until=at(24 * 60), closed_until=at(25 * 60), days=days) == (at(25 * 60), at(25 * 60))
