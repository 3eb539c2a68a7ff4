from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.status import DEVICE_STATUSES, Gap, count_silence, device_status, merge_gaps, next_change_at

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIMEOUT = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        (timedelta(0), "online"),
        (timedelta(minutes=5), "online"),
        (timedelta(minutes=5, microseconds=1), "stale"),
        (timedelta(minutes=15), "stale"),
        (timedelta(minutes=15, microseconds=1), "offline"),
        (timedelta(seconds=-30), "online"),
    ],
)
def test_it_ages_from_online_over_stale_to_offline(silence: timedelta, expected: str) -> None:
    assert device_status(NOW - silence, TIMEOUT, NOW) == expected


def test_a_device_that_never_sent_is_not_called_offline() -> None:
    assert device_status(None, TIMEOUT, NOW) == "never"


@given(
    silence=st.timedeltas(timedelta(0), timedelta(days=3650)),
    longer=st.timedeltas(timedelta(0), timedelta(days=3650)),
    timeout=st.timedeltas(timedelta(microseconds=1), timedelta(days=365)),
)
def test_more_silence_never_makes_a_device_healthier(silence: timedelta, longer: timedelta, timeout: timedelta) -> None:
    ages = DEVICE_STATUSES.index(device_status(NOW - silence, timeout, NOW))
    assert DEVICE_STATUSES.index(device_status(NOW - silence - longer, timeout, NOW)) >= ages


# --- With gaps in which the platform could not hear it


def gap(start_minutes_ago: float, end_minutes_ago: float) -> Gap:
    return Gap(NOW - timedelta(minutes=start_minutes_ago), NOW - timedelta(minutes=end_minutes_ago))


@pytest.mark.parametrize(
    ("last_seen_minutes_ago", "gaps", "expected"),
    [
        (62, [gap(60, 0)], "online"),  # still away
        (62, [gap(60, 4)], "online"),  # back for less than its timeout
        (62, [gap(60, 6)], "stale"),  # it had its whole timeout
        (62, [gap(60, 16)], "offline"),
        (66, [gap(60, 0)], "stale"),  # stale before, stale afterwards
        (74, [gap(60, 4)], "stale"),  # and again a whole timeout until it is offline
        (74, [gap(60, 6)], "offline"),
        (76, [gap(60, 0)], "offline"),  # offline before, offline afterwards
        (30, [gap(60, 4)], "online"),  # last heard in the middle of the gap
        (30, [gap(60, 31)], "offline"),  # the gap was over by then
        (62, [gap(60, 50), gap(48, 4)], "online"),
    ],
)
def test_a_gap_of_ours_is_no_silence_of_theirs(last_seen_minutes_ago: float, gaps: list[Gap], expected: str) -> None:
    assert device_status(NOW - timedelta(minutes=last_seen_minutes_ago), TIMEOUT, NOW, gaps) == expected


def test_overlapping_gaps_count_once() -> None:
    assert merge_gaps([gap(30, 20), gap(60, 50), gap(55, 40), gap(40, 35)]) == [gap(60, 35), gap(30, 20)]


_moments = st.integers(0, 10_000).map(lambda seconds: NOW - timedelta(seconds=seconds))
_gaps = st.lists(st.tuples(_moments, _moments).map(lambda pair: Gap(min(pair), max(pair))), max_size=5).map(merge_gaps)


@given(last_seen=_moments, gaps=_gaps, timeout=st.timedeltas(timedelta(seconds=1), timedelta(hours=1)))
def test_gaps_never_make_a_device_look_worse(last_seen: datetime, gaps: list[Gap], timeout: timedelta) -> None:
    credited = DEVICE_STATUSES.index(device_status(last_seen, timeout, NOW, gaps))
    assert credited <= DEVICE_STATUSES.index(device_status(last_seen, timeout, NOW))


@given(last_seen=_moments, gaps=_gaps, timeout=st.timedeltas(timedelta(seconds=1), timedelta(hours=1)), later=st.integers(0, 10_000))
def test_a_status_holds_until_the_time_that_is_told(last_seen: datetime, gaps: list[Gap], timeout: timedelta, later: int) -> None:
    status, change_at = device_status(last_seen, timeout, NOW, gaps), next_change_at(last_seen, timeout, NOW, gaps)
    assert (change_at is None) == (status == "offline")
    if change_at is not None:
        assert device_status(last_seen, timeout, change_at, gaps) == status
        assert device_status(last_seen, timeout, change_at + timedelta(microseconds=1), gaps) != status


@given(last_seen=_moments, timeout=st.timedeltas(timedelta(seconds=1), timedelta(hours=1)), length=st.integers(1, 10_000))
def test_the_status_does_not_change_while_nothing_can_be_heard(last_seen: datetime, timeout: timedelta, length: int) -> None:
    end = NOW + timedelta(seconds=length)
    assert device_status(last_seen, timeout, end, [Gap(NOW, end)]) == device_status(last_seen, timeout, NOW)


def test_a_clock_that_was_set_back_makes_no_silence() -> None:
    assert count_silence(NOW + timedelta(minutes=2), TIMEOUT, NOW) == timedelta(0)
