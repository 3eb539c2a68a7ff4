from datetime import UTC, datetime, timedelta

import pytest

from protocols.pulses import Pulse, judge_interval

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("elapsed", "ran", "same_host", "reason", "clock_set"),
    [
        (5, 5, True, "", 0),
        (9, 5, True, "", 0),  # not worth a word
        (3600, 3600, True, "platform away", 0),
        (3600, 12, False, "platform away", 0),  # another host, or after a reboot: its monotonic clock says nothing
        (125, 5, True, "clock set ahead", 120),
        (3600, 5, True, "clock set ahead", 3595),  # or the machine slept
        (-115, 5, True, "", -120),
    ],
)
def test_it_tells_what_happened_between_two_runs(elapsed: float, ran: float, same_host: bool, reason: str, clock_set: float) -> None:
    before = Pulse(NOW, "a", 1_000.0)
    after = Pulse(NOW + timedelta(seconds=elapsed), "a" if same_host else "b", 1_000.0 + ran)
    interval = judge_interval(before, after)
    assert (interval.reason, interval.clock_set.total_seconds()) == (reason, clock_set)
    assert (interval.gap is not None) == bool(reason)
