"""How much of the web process one tenant may take at once, so that its load, its locks and its plant stay its own.

Whatever works for a tenant holds a connection of the pool, which is for all. So each tenant has a number of turns, half of
the pool; who finds none waits a little in a queue, without a connection, and is then told to come again. Of the turns a few
may be long ones: exports, imports, history over a long time, questions to machines of the plant. A tenant whose tables
were locked a moment ago has two turns only, because each of them will wait for the lock. Counts are of this process.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import psycopg.errors
from django.conf import settings
from django.db import OperationalError, connection

from iiot_site.lib.errors import TenantBusyError

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0  # a burst of a tenant is no fault; less than the pool lets wait
TURNS_OF_LOCKED = 2
LOCKED_SECONDS = 3.0
QUIET_SECONDS = 10.0
# Who waits keeps a thread, of which the web process has a thousand; the rest is for those who need no turn.
MAX_WAITING = 250
MAX_WAITING_TOGETHER = 750

_BUSY = "Your organisation has more requests in work than its share; send this again in some seconds."
_LOCKED = "Your organisation's tables are busy; send this again in some seconds."
_LONG = "Your organisation has as many long requests in work as it may; send this again when one of them is done."


@dataclass(eq=False, slots=True)
class _Waiter:
    is_long: bool
    admitted: Event = field(default_factory=Event)


@dataclass(slots=True)
class _Use:
    """What one tenant has taken."""

    in_work: int = 0
    long: int = 0
    queue: deque[_Waiter] = field(default_factory=deque)
    locked_until: float = 0.0
    quiet_until: float = 0.0


class Turns:
    """Counts the turns of each tenant, in all threads of a process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._uses: dict[str, _Use] = {}
        self._waiting = 0

    def take(self, tenant: str, *, is_long: bool = False) -> "Turn":
        """Return a turn, which whoever asked for it has to leave.

        Raises:
            TenantBusyError: none has become free for a while, or too many wait already.
        """
        self.admit(tenant, is_long=is_long)
        return Turn(self, tenant, is_long=is_long)

    @contextmanager
    def turn(self, tenant: str) -> Iterator[None]:
        """Work for a tenant. Raises as `take` does."""
        turn = self.take(tenant)
        try:
            yield
        except OperationalError as error:
            turn.note_error(error)
            raise
        finally:
            turn.leave()

    def count(self, tenant: str) -> tuple[int, int]:
        """Return how many turns are taken, and how many of them are long."""
        with self._lock:
            use = self._uses.get(tenant, _Use())
            return use.in_work, use.long

    def count_waiting(self, tenant: str) -> int:
        """Return how many wait for a turn."""
        with self._lock:
            return len(self._uses[tenant].queue) if tenant in self._uses else 0

    def note_lock(self, tenant: str) -> None:
        """Remember that a table of the tenant was locked just now."""
        with self._lock:
            self._uses.setdefault(tenant, _Use()).locked_until = self._clock() + LOCKED_SECONDS

    def forget_locks(self) -> None:
        """Let tests begin anew."""
        with self._lock:
            for use in self._uses.values():
                use.locked_until = 0.0

    def give_back(self, tenant: str, *, is_long: bool) -> None:
        """Let the next one in; called by the turn."""
        with self._lock:
            use = self._uses[tenant]
            use.in_work -= 1
            use.long -= is_long
            self._call_up(use)
            if not use.in_work and not use.queue and use.locked_until <= self._clock():
                del self._uses[tenant]

    def admit(self, tenant: str, *, is_long: bool) -> None:
        """Count one in, or wait until it may be; called by the turn. Raises as `take` does."""
        with self._lock:
            use = self._uses.setdefault(tenant, _Use())
            self._call_up(use)
            if self._fits(use, is_long):
                self._count(use, is_long)
                return
            if len(use.queue) >= MAX_WAITING or self._waiting >= MAX_WAITING_TOGETHER:
                raise self._refuse(tenant, use, is_long)
            waiter = _Waiter(is_long)
            use.queue.append(waiter)
            self._waiting += 1
        give_back_connection()
        waiter.admitted.wait(WAIT_SECONDS)
        with self._lock:
            self._waiting -= 1
            if waiter.admitted.is_set():
                return
            use.queue.remove(waiter)
            raise self._refuse(tenant, use, is_long)

    def _call_up(self, use: _Use) -> None:
        """Let in who waits, in order; who waits for a long turn does not keep the others."""
        for waiter in list(use.queue):
            if self._fits(use, waiter.is_long):
                use.queue.remove(waiter)
                self._count(use, waiter.is_long)
                waiter.admitted.set()

    def _fits(self, use: _Use, is_long: bool) -> bool:
        places = max(1, settings.IIOT_DB_POOL_SIZE // 2)
        if self._is_locked(use):
            places = min(places, TURNS_OF_LOCKED)
        long_places = max(1, min(settings.IIOT_TENANT_LONG_REQUESTS, places - 1))
        return use.in_work < places and not (is_long and use.long >= long_places)

    @staticmethod
    def _count(use: _Use, is_long: bool) -> None:
        use.in_work += 1
        use.long += is_long

    def _is_locked(self, use: _Use) -> bool:
        return self._clock() < use.locked_until

    def _refuse(self, tenant: str, use: _Use, is_long: bool) -> TenantBusyError:
        """Return the error, and write of it now and then: who is refused tries again, and the log is for all."""
        if self._clock() >= use.quiet_until:
            use.quiet_until = self._clock() + QUIET_SECONDS
            logger.warning(
                "%s has its share of the web process: %d in work, %d of them long; %d wait, others are answered 503",
                tenant,
                use.in_work,
                use.long,
                len(use.queue),
            )
        if self._is_locked(use):
            return TenantBusyError(_LOCKED)
        return TenantBusyError(_LONG if is_long else _BUSY)


class Turn:
    """One turn of a tenant; it may be left by another thread than took it."""

    def __init__(self, turns: Turns, tenant: str, *, is_long: bool) -> None:
        self._turns = turns
        self.tenant = tenant
        self._is_long = is_long
        self._is_held = True
        self._lock = Lock()

    def leave(self) -> None:
        """Give the turn back; a second time does nothing."""
        with self._lock:
            was_held, self._is_held = self._is_held, False
        if was_held:
            self._turns.give_back(self.tenant, is_long=self._is_long)

    def lengthen(self) -> None:
        """Go on as a long one, in its place rather than in an ordinary one. Raises as `Turns.take` does."""
        if self._is_long:
            return
        self.leave()
        self._turns.admit(self.tenant, is_long=True)
        self._is_long = self._is_held = True

    def note_error(self, error: BaseException) -> None:
        """Remember where the tenant's tables were locked."""
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            self._turns.note_lock(self.tenant)


turns = Turns()


def give_back_connection() -> None:
    """Let others use this thread's database connection, before it waits for something else; the next query takes one anew."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def turn_of(request: Any) -> Turn | None:
    """Return the turn of a request of Django's or DRF's; None outside of every tenant."""
    turn = getattr(request, "turn", None)
    return turn if isinstance(turn, Turn) else None


def count_as_long(request: Any) -> None:
    """Say that this request takes long, before it does: until its end it has one of the tenant's few long turns.

    Raises:
        TenantBusyError: they are taken.
    """
    if (turn := turn_of(request)) is not None:
        turn.lengthen()
