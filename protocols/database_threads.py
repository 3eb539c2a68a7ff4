"""Database work beside an event loop: threads with connections of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from django.db import DatabaseError, InterfaceError, connection

CLOSE_SECONDS = 3.0
P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """Runs `count` functions at once. Where the database does not answer its errors come through; the next call connects anew."""

    def __init__(self, name: str, *, count: int = 1) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns."""
        return await asyncio.wrap_future(self.submit(work, *args, **kwargs))

    async def run_in_turn(self, tenant: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, one function of a tenant's after the other: one whose tables are locked takes one thread, and not all."""
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        async with turn:
            return await self.run(work, *args, **kwargs)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the function for whoever waits without a loop."""
        return self._executor.submit(_call, partial(work, *args, **kwargs))

    def close(self) -> None:
        """End the threads and their connections."""
        everybody = Barrier(self._count)
        for _ in range(self._count):
            self._executor.submit(_close_connection, everybody)
        self._executor.shutdown(wait=True)


def _call(work: Callable[[], T]) -> T:
    connection.close_if_unusable_or_obsolete()
    try:
        return work()
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


def _close_connection(everybody: Barrier) -> None:
    connection.close()
    everybody.wait(timeout=CLOSE_SECONDS)  # so that each thread closes its own
