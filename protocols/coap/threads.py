"""Database work beside the event loop: a thread with a connection of its own."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection

from protocols.coap.refusals import SERVICE_UNAVAILABLE, Refused

logger = logging.getLogger(__name__)

T = TypeVar("T")


class DatabaseThread:
    """Runs one function after the other."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what the function returns.

        Raises:
            Refused: 5.03, the database does not answer; the next call connects anew.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _call, function, arguments)
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("the database does not answer: %s", exc)
            raise Refused("busy", code=SERVICE_UNAVAILABLE, max_age=5) from exc

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
