from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.status import DEVICE_STATUSES, device_status

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
