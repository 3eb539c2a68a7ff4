"""What PostgreSQL tells at a commit (NOTIFY), for threads that follow changes."""

import select
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection


@contextmanager
def listen_to(channel: str) -> Iterator[psycopg.Connection]:
    """Open a connection of its own that hears a channel from now on.

    Raises:
        psycopg.Error: the database is away; from within, too.
    """
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as notices:
        notices.execute(f"LISTEN {channel}")
        yield notices


def take_notices(notices: psycopg.Connection, *, wait_seconds: float) -> list[str]:
    """Wait so long for notices and return what they say, in order; none where none came."""
    select.select([notices.fileno()], [], [], wait_seconds)
    return [notice.payload for notice in notices.notifies(timeout=0)]
