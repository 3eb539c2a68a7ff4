"""What one tenant may take of the web process at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg.errors
import pytest
from django.conf import LazySettings
from django.db import OperationalError

from iiot_site.lib import turns as module
from iiot_site.lib.errors import TenantBusyError
from iiot_site.lib.turns import LOCKED_SECONDS, TURNS_OF_LOCKED, Turn, Turns
from tests.waiting import WAIT_SECONDS

SHARE = 4


@pytest.fixture(autouse=True)
def _small(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.IIOT_DB_POOL_SIZE = 2 * SHARE
    settings.IIOT_TENANT_LONG_REQUESTS = 2
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)


@contextmanager
def waiting(take: Callable[[], Turn]) -> Iterator[list[Turn | TenantBusyError]]:
    """Let a thread ask for a turn, and hand out what it got once the block has ended."""
    got: list[Turn | TenantBusyError] = []

    def ask() -> None:
        try:
            got.append(take())
        except TenantBusyError as error:
            got.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    yield got
    thread.join(WAIT_SECONDS)


def wait_until_queued(turns: Turns, count: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while turns.count_waiting("acme") < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_tenant_has_half_of_the_pool_and_others_go_on() -> None:
    turns = Turns()
    taken = [turns.take("acme") for _ in range(SHARE)]
    with pytest.raises(TenantBusyError, match="share"):
        turns.take("acme")
    with turns.turn("globex"):
        assert turns.count("globex") == (1, 0)
    for _ in range(2):
        taken[0].leave()
    assert turns.count("acme") == (SHARE - 1, 0)
    turns.take("acme")


def test_who_waits_gets_the_turn_that_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", WAIT_SECONDS)
    turns = Turns()
    taken = [turns.take("acme") for _ in range(SHARE)]
    with waiting(lambda: turns.take("acme")) as got:
        wait_until_queued(turns, 1)
        taken[0].leave()
    assert isinstance(got[0], Turn)
    assert turns.count("acme") == (SHARE, 0)


def test_where_too_many_wait_the_next_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    turns = Turns()
    taken = [turns.take("acme") for _ in range(SHARE)]
    with waiting(lambda: turns.take("acme")) as got:
        wait_until_queued(turns, 1)
        with pytest.raises(TenantBusyError):
            turns.take("acme")
        taken[0].leave()
    assert isinstance(got[0], Turn)


def test_an_error_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.turn("acme"):
        raise ZeroDivisionError
    assert turns.count("acme") == (0, 0)


def test_long_requests_have_a_part_of_the_share_and_who_waits_for_one_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    long = [turns.take("acme") for _ in range(3)]
    long[0].lengthen()
    long[1].lengthen()
    with pytest.raises(TenantBusyError, match="long"):
        long[2].lengthen()
    long[2].leave()
    assert turns.count("acme") == (2, 2)
    monkeypatch.setattr(module, "WAIT_SECONDS", WAIT_SECONDS)
    with waiting(lambda: turns.take("acme", is_long=True)) as got:
        wait_until_queued(turns, 1)
        ordinary = [turns.take("acme"), turns.take("acme")]
        ordinary[0].leave()
        assert turns.count("acme") == (3, 2)
        long[0].leave()
    assert isinstance(got[0], Turn)
    assert turns.count("acme") == (3, 2)


def test_the_smallest_pool_lets_one_in(settings: LazySettings) -> None:
    settings.IIOT_DB_POOL_SIZE = 1
    turns = Turns()
    with pytest.raises(TenantBusyError), turns.turn("acme"):
        turns.take("acme")
    turns.take("acme", is_long=True)


def test_a_tenant_whose_table_was_locked_has_two_turns_for_a_while() -> None:
    seconds = [0.0]
    turns = Turns(clock=lambda: seconds[0])
    locked = OperationalError("waited too long")
    locked.__cause__ = psycopg.errors.LockNotAvailable()
    with pytest.raises(OperationalError), turns.turn("acme"):
        raise locked
    taken = [turns.take("acme") for _ in range(TURNS_OF_LOCKED)]
    with pytest.raises(TenantBusyError, match="tables"):
        turns.take("acme")
    seconds[0] += LOCKED_SECONDS
    taken += [turns.take("acme") for _ in range(SHARE - TURNS_OF_LOCKED)]
    for turn in taken:
        turn.leave()
    with pytest.raises(OperationalError), turns.turn("acme"):
        raise OperationalError("anything else")
    assert [turns.take("acme") for _ in range(SHARE)]
