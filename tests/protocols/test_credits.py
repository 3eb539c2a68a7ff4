"""Credits: a flood is cut off, nobody else notices."""

from datetime import UTC, datetime

import pytest

from protocols.credits import Credits, Limits
from protocols.types import RawMessage

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
UNLIMITED = Credits(rate=0, burst=0)


def batch(*devices: str, tenant: str = "acme") -> list[RawMessage]:
    return [RawMessage(tenant, device, b"{}", NOW, "mqtt", "") for device in devices]


def test_a_burst_passes_and_what_is_beyond_it_does_not() -> None:
    limits = Limits(devices=Credits(rate=1, burst=3), tenants=UNLIMITED)
    assert limits.find_uncovered(batch("a", "b", "a", "a", "a", "a"), 100.0) == {4, 5}


def test_credit_comes_back_with_time_up_to_the_burst() -> None:
    limits = Limits(devices=Credits(rate=2, burst=4), tenants=UNLIMITED)
    limits.find_uncovered(batch(*"aaaa"), 100.0)
    assert limits.find_uncovered(batch(*"aaa"), 101.0) == {2}
    assert limits.find_uncovered(batch(*"aaaaa"), 900.0) == {4}


def test_devices_of_the_same_name_in_two_tenants_do_not_share_credit() -> None:
    limits = Limits(devices=Credits(rate=1, burst=1), tenants=UNLIMITED)
    assert limits.find_uncovered(batch("a") + batch("a", tenant="globex"), 100.0) == frozenset()


def test_a_tenant_has_a_credit_of_its_own() -> None:
    limits = Limits(devices=UNLIMITED, tenants=Credits(rate=1, burst=2))
    assert limits.find_uncovered(batch("a", "b", "c") + batch("a", tenant="globex"), 100.0) == {2}


def test_without_a_rate_everything_passes() -> None:
    assert Limits(devices=UNLIMITED, tenants=UNLIMITED).find_uncovered(batch(*"a" * 1000), 100.0) == frozenset()


def test_what_came_up_while_nothing_could_be_taken_in_is_covered() -> None:
    limits = Limits(devices=Credits(rate=2, burst=4), tenants=UNLIMITED)
    limits.find_uncovered(batch(*"aa"), 100.0)
    limits.forgive(10, 110.0)
    assert limits.find_uncovered(batch(*"a" * 23, "b"), 110.0) == frozenset()
    assert limits.find_uncovered(batch("a", "a"), 110.0) == {1}


def test_credit_for_an_outage_is_given_once_and_kept_for_a_while() -> None:
    limits = Limits(devices=Credits(rate=2, burst=4), tenants=UNLIMITED)
    limits.find_uncovered(batch("a"), 100.0)
    limits.forgive(10, 110.0)
    limits.find_uncovered(batch("a"), 110.0)
    assert limits.find_uncovered(batch(*"a" * 23), 120.0) == frozenset()
    assert limits.find_uncovered(batch(*"a"), 120.0) == {0}


@pytest.mark.parametrize("is_heard_before", [False, True])
def test_credit_for_an_outage_lapses_a_minute_and_its_length_after_its_end(is_heard_before: bool) -> None:
    limits = Limits(devices=Credits(rate=2, burst=4), tenants=UNLIMITED)
    if is_heard_before:
        limits.find_uncovered(batch("a"), 100.0)
    limits.forgive(10, 110.0)
    if is_heard_before:
        limits.find_uncovered(batch("a"), 110.0)
    assert limits.find_uncovered(batch(*"b" * 24), 179.0) == frozenset()
    assert len(limits.find_uncovered(batch(*"a" * 24), 181.0)) == 20


def test_the_credit_of_the_second_of_two_outages_outlives_the_first() -> None:
    limits = Limits(devices=Credits(rate=2, burst=4), tenants=UNLIMITED)
    limits.forgive(10, 110.0)
    limits.find_uncovered(batch("a"), 110.0)
    limits.forgive(5, 150.0)
    assert len(limits.find_uncovered(batch(*"a" * 24), 200.0)) == 10
    assert len(limits.find_uncovered(batch(*"b" * 24), 200.0)) == 10
