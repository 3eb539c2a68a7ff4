from datetime import UTC, date, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from telemetry.partitions_math import (
    days_ahead,
    missing_days,
    partition_bounds,
    partition_day,
    partition_name,
    utc_day,
)

days = st.dates(date(1970, 1, 2), date(9999, 12, 30))
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 29), timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))]))  # noqa: DTZ001


@given(day=days)
def test_a_name_leads_back_to_its_day(day: date) -> None:
    assert partition_day(partition_name(day)) == day


@given(name=st.text() | st.sampled_from(["telemetry_reading", "telemetry_reading_p2026112", "telemetry_reading_p20261399"]))
def test_other_tables_have_no_day(name: str) -> None:
    assert partition_day(name) is None


@given(moment=moments)
def test_a_moment_lies_in_the_partition_of_its_utc_day_and_in_no_neighbour(moment: datetime) -> None:
    start, end = partition_bounds(utc_day(moment))
    assert start <= moment < end
    assert partition_bounds(utc_day(moment) + timedelta(days=1))[0] == end


@given(wanted=st.sets(days, max_size=8), existing=st.sets(days, max_size=8))
def test_missing_are_those_wanted_without_a_table_oldest_first(wanted: set[date], existing: set[date]) -> None:
    missing = missing_days(wanted, {partition_name(day) for day in existing})
    assert set(missing) == wanted - existing
    assert missing == sorted(missing)


def test_today_and_three_days_ahead_are_made_in_advance() -> None:
    ahead = days_ahead(datetime(2026, 12, 30, 23, tzinfo=UTC))
    assert ahead == [date(2026, 12, 30), date(2026, 12, 31), date(2027, 1, 1), date(2027, 1, 2)]
