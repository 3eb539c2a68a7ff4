"""Which tenants of a listener cannot store what they are sent, so that they do not hold up the others.

A table of one tenant is locked, missing or out of date: its messages are held in the shared schema (`held_messages`) and
it is tried again after a pause. Where the database itself is away nobody is to blame, and the whole batch waits.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import django.db
import psycopg
from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 5.0
LAST_PAUSE_SECONDS = 60.0
LOCK_SECONDS = 3.0  # a tenant whose table is locked for longer is served later, so that the others need not wait
RETRY_LOCK_SECONDS = 0.2
RETRY_EVERY_SECONDS = 1.0  # with the line above: a fifth of the time at most, however many tenants are in trouble
APART_SECONDS = 30.0
# By the class of SQLSTATE (PostgreSQL, appendix A): 08 connection, 40 deadlock and its like, which a second try cures,
# 53 resources such as disk and memory, 57 the server is going down, 58 its files.
_NO_TENANTS_FAULT = ("08", "40", "53", "57", "58")


@dataclass(frozen=True, slots=True)
class _Trouble:
    retry_at: float
    next_pause_seconds: float
    with_control: bool  # which of the two failed: readings, or all else


class Holding:
    """The tenants in trouble, each with the time of its next try. For one thread. `report` is told of each failure."""

    def __init__(self, *, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}
        self._next_retry_at = 0.0
        self._apart_until: dict[str, float] = {}

    def is_in_trouble(self, slug: str) -> bool:
        """Tell whether the tenant's messages are to be held without a try."""
        return slug in self._troubles and self._clock() < max(self._troubles[slug].retry_at, self._next_retry_at)

    def is_well(self, slug: str) -> bool:
        """Tell whether nothing is known against storing the tenant's messages together with those of others."""
        return slug not in self._troubles and self._clock() >= self._apart_until.get(slug, 0.0)

    def set_apart(self, slug: str) -> None:
        """Let the tenant be stored by itself for a while: it made others fail with it."""
        self._apart_until[slug] = self._clock() + APART_SECONDS

    def lock_seconds(self, slug: str) -> float | None:
        """Return how long to wait for a lock of the tenant's: None, as the process does, unless there is trouble.

        Whoever is new to it shares the patience with all that are in it, so that thirty tenants locked at once cost 13 s, not 90.
        """
        if not self._troubles:
            return None
        shared = LOCK_SECONDS / (1 + len(self._troubles))
        return RETRY_LOCK_SECONDS if slug in self._troubles else max(RETRY_LOCK_SECONDS, shared)

    def blame(self, slug: str, error: Exception, *, is_control: bool) -> None:
        """Note that the tenant failed, with readings or with all else.

        Raises:
            django.db.Error: the error, where it is the database's trouble, or passes with a second try.
        """
        connection.close()
        if is_databases_fault(error) or not _database_answers():
            raise error
        pause = FIRST_PAUSE_SECONDS
        if slug in self._troubles:
            pause = self._troubles[slug].next_pause_seconds
            self._next_retry_at = self._clock() + RETRY_EVERY_SECONDS
        self._troubles[slug] = _Trouble(self._clock() + pause, min(2 * pause, LAST_PAUSE_SECONDS), is_control)
        text = f"messages of {slug} are held, next try in {pause:.0f} s: {type(error).__name__}: {error}"
        logger.error("%s", text)
        self._report(text[:500])

    def clear(self, slug: str, *, is_control: bool) -> None:
        """Note that the tenant could store; that ends its trouble where it is what failed."""
        if slug in self._troubles and self._troubles[slug].with_control == is_control:
            del self._troubles[slug]
            logger.info("messages of %s are stored again", slug)


def is_databases_fault(error: Exception) -> bool:
    """Tell whether an error is no tenant's: a broken connection, which has no SQLSTATE where libpq found it out, or such a state."""
    state = find_sqlstate(error)
    is_connections = isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _NO_TENANTS_FAULT if state else is_connections


def find_sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of the error or its cause; "" where it has none."""
    for found in (error, error.__cause__):
        if isinstance(found, psycopg.Error) and found.sqlstate:
            return found.sqlstate
    return ""


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except django.db.Error:
        return False
    return True
