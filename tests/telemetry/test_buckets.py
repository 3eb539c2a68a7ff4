from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.buckets import CALENDAR_UNITS, Buckets, CalendarBuckets, FixedBuckets, list_edges, page_bounds, parse_duration

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Beirut"]
moments = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
all_buckets = st.one_of(
    st.integers(1, 31_622_400).map(lambda seconds: FixedBuckets(timedelta(seconds=seconds))),
    st.builds(CalendarBuckets, st.sampled_from(CALENDAR_UNITS), st.sampled_from(ZONES).map(ZoneInfo)),
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("90s", 90), ("5m", 300), ("1h", 3600), ("2d", 172_800), ("366d", 31_622_400), ("1", 1)]
)
def test_a_width_reads_as_people_write_it(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["0", "0s", "367d", "-5m", "5 m", "1.5h", "m", "", "1w", "\u0661", "9" * 12, "1h30m"])
def test_other_widths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Use"):
        parse_duration(text)


def test_days_have_23_and_25_hours_where_the_clocks_change() -> None:
    spring = list_edges(
        CalendarBuckets("day", BERLIN), start=datetime(2026, 3, 28, 12, tzinfo=UTC), end=datetime(2026, 3, 30, 12, tzinfo=UTC)
    )
    assert [edge.astimezone(BERLIN).strftime("%d %H:%M") for edge in spring] == ["28 00:00", "29 00:00", "30 00:00", "31 00:00"]
    assert [later - earlier for earlier, later in pairwise(spring)] == [timedelta(hours=n) for n in (24, 23, 24)]
    autumn = list_edges(
        CalendarBuckets("day", BERLIN), start=datetime(2026, 10, 25, tzinfo=BERLIN), end=datetime(2026, 10, 26, tzinfo=BERLIN)
    )
    assert autumn[1] - autumn[0] == timedelta(hours=25)


def test_a_day_whose_midnight_was_skipped_begins_when_the_clocks_went_on() -> None:
    sao_paulo = ZoneInfo("America/Sao_Paulo")
    first, second = list_edges(
        CalendarBuckets("day", sao_paulo), start=datetime(2018, 11, 4, 12, tzinfo=UTC), end=datetime(2018, 11, 4, 13, tzinfo=UTC)
    )
    assert (first.astimezone(sao_paulo).hour, second - first) == (1, timedelta(hours=23))


def test_a_day_that_a_zone_left_out_is_no_bucket() -> None:
    buckets = CalendarBuckets("day", ZoneInfo("Pacific/Apia"))
    edges = list_edges(buckets, start=datetime(2011, 12, 29, 12, tzinfo=UTC), end=datetime(2011, 12, 31, 12, tzinfo=UTC))
    assert edges == sorted(set(edges))
    assert [edge.astimezone(buckets.zone).day for edge in edges] == [29, 31, 1, 2]


def test_weeks_begin_on_monday_months_and_years_on_the_first() -> None:
    moment = datetime(2026, 11, 21, 6, tzinfo=UTC)
    begins = {unit: CalendarBuckets(unit, BERLIN).floor(moment).astimezone(BERLIN) for unit in CALENDAR_UNITS}
    assert {unit: (begin.month, begin.day, begin.hour) for unit, begin in begins.items()} == {
        "day": (11, 21, 0),
        "week": (11, 16, 0),
        "month": (11, 1, 0),
        "year": (1, 1, 0),
    }


@given(buckets=all_buckets, moment=moments)
def test_every_moment_lies_in_the_bucket_that_is_its_own(buckets: Buckets, moment: datetime) -> None:
    begin = buckets.floor(moment)
    edges = list_edges(buckets, start=moment, end=moment + timedelta(microseconds=1))
    assert edges[0] == begin <= moment < edges[1]
    assert len(edges) == 2


@given(buckets=all_buckets, start=moments, spans=st.floats(0.1, 9), limit=st.integers(1, 4), newest_first=st.booleans())
def test_pages_join_to_the_whole(buckets: Buckets, start: datetime, spans: float, limit: int, newest_first: bool) -> None:
    end = start + (buckets.shift(buckets.floor(start), 1) - buckets.floor(start)) * spans + timedelta(microseconds=1)
    whole = list_edges(buckets, start=start, end=end)
    seen: list[datetime] = []
    rest_start, rest_end = start, end
    while rest_start < rest_end:
        first, last = page_bounds(buckets, start=rest_start, end=rest_end, limit=limit, newest_first=newest_first)
        page = list_edges(buckets, start=first, end=last)[:-1]
        assert 0 < len(page) <= limit
        seen += page
        rest_start, rest_end = (rest_start, first) if newest_first else (last, rest_end)
    assert sorted(seen) == whole[:-1]
