from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from protocols.meter import KEPT_ERRORS, Meter, percentile

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_rates_are_those_since_the_last_look() -> None:
    meter = Meter()
    meter.note_batch(messages=100, rejected=0, size=1_000, seconds=0.01)
    assert meter.rates(10.0) == (0.0, 0.0)
    meter.note_batch(messages=30, rejected=1, size=600, seconds=0.03)
    assert meter.rates(13.0) == (10.0, 200.0)
    assert meter.rates(16.0) == (0.0, 0.0)
    assert (meter.messages, meter.rejected, meter.bytes) == (130, 1, 1_600)


def test_an_error_that_repeats_is_one_with_its_last_time() -> None:
    meter = Meter()
    for n, text in enumerate(["away", "away", "refused", "away"]):
        meter.note_error(text, NOW + timedelta(seconds=n))
    assert [(at.second, text) for at, text in meter.errors()] == [(1, "away"), (2, "refused"), (3, "away")]
    for n in range(20):
        meter.note_error(str(n), NOW)
    assert [text for _, text in meter.errors()] == [str(n) for n in range(20 - KEPT_ERRORS, 20)]
    assert meter.last_error == "19"


def test_latencies_are_known_after_the_first_batch() -> None:
    meter = Meter()
    assert meter.latencies_ms() is None
    for n in range(1, 101):
        meter.note_batch(messages=1, rejected=0, size=1, seconds=n / 1000)
    assert meter.latencies_ms() == (51.0, 100.0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert percentile(sorted(values), share) in values
