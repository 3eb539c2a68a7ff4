"""Database work beside an event loop: a thread with a connection of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection

T = TypeVar("T")


class DatabaseThread:
    """Runs one function after the other. Where the database does not answer its errors come through; the next call connects anew."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what the function returns."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _call, function, arguments)

    def close(self) -> None:
        """End the thread and its connection."""
        self._executor.submit(_close_connection)
        self._executor.shutdown(wait=True)


def _call(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    try:
        return function(*arguments)
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


def _close_connection() -> None:
    """Close the connection of the thread that this runs in."""
    connection.close()
