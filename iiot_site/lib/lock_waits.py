"""How long this process waits for locks in the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, connections


def limit_lock_waits(seconds: float) -> None:
    """Let the database give up on a lock after that long, on all connections that this process opens from now on."""
    options = connections.settings["default"]["OPTIONS"]
    options["options"] = f"{options.get('options', '')} -c lock_timeout={seconds * 1000:.0f}".strip()


def limit_lock_waits_now(seconds: float) -> None:
    """Let the database give up on a lock after that long, in the transaction that is open now."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {seconds * 1000:.0f}")


@contextmanager
def patience() -> Iterator[None]:
    """Wait for locks as long as it takes, for work that must not fail half-way because others are slow."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")


@contextmanager
def impatience(seconds: float | None) -> Iterator[None]:
    """Wait that long for each lock at most; None: as the process does. What fails meanwhile costs the connection, too."""
    if seconds is None:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {seconds * 1000:.0f}")
    try:
        yield
    except BaseException:
        connection.close()  # a transaction that failed takes no RESET
        raise
    with connection.cursor() as cursor:
        cursor.execute("RESET lock_timeout")
