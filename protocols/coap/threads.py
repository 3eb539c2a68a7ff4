"""Database work beside the event loop, with the answer for devices where the database is away."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError

from protocols.coap.refusals import SERVICE_UNAVAILABLE, Refused
from protocols.database_threads import DatabaseThreads

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class AnsweringThreads(DatabaseThreads):
    """As its base, with an answer for devices."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns.

        Raises:
            Refused: 5.03, the database does not answer; the next call connects anew.
        """
        try:
            return await super().run(work, *args, **kwargs)
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("the database does not answer: %s", exc)
            raise Refused("busy", code=SERVICE_UNAVAILABLE, max_age=5) from exc
