"""Redis on the way of a request: half a second at most, and after one failure none at all for some seconds.

A Redis that hangs costs more than one that is away: every question waits for its time-out. So the first that fails lets
this process leave Redis alone for `PAUSE_SECONDS`; meanwhile each question fails at once, and whoever asked does without.
The cache of Django (settings), counters, frames and live pages ask through here, and so do tasks that are sent. Workers
read their queues on connections of their own.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import redis
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

if TYPE_CHECKING:
    _Base = redis.connection.AbstractConnection
else:
    _Base = object

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5
PAUSE_SECONDS = 5.0

_pause = {"until": 0.0}


class RedisPausedError(redis.ConnectionError):
    """Redis did not answer a moment ago and is not asked now."""


@contextmanager
def guarded() -> Iterator[None]:
    """Raise RedisPausedError while Redis is left alone; leave it alone after a failure inside."""
    _check()
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, BrokerError, OSError) as exc:
        _leave_alone(exc)
        raise


def _check() -> None:
    if time.monotonic() < _pause["until"]:
        raise RedisPausedError("Redis did not answer and is left alone for some seconds.")


def _leave_alone(exc: Exception) -> None:
    if time.monotonic() >= _pause["until"]:
        _pause["until"] = time.monotonic() + PAUSE_SECONDS
        logger.warning("Redis is left alone for %.0f s: %s", PAUSE_SECONDS, exc)


def forget_failures() -> None:
    """Ask Redis again at once; for tests."""
    _pause["until"] = 0.0


class WithoutPausedRedis(logging.Filter):
    """Drops what could not be done because Redis is left alone: that it is was said once, and thousands would follow."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and any(isinstance(arg, RedisPausedError) for arg in record.args))


class _Guarded(_Base):
    """A connection that is not used while Redis is left alone."""

    def connect(self) -> None:
        with guarded():
            super().connect()  # type: ignore[no-untyped-call]  # redis has types for its callers alone

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        with guarded():
            super().send_packed_command(*args, **kwargs)  # type: ignore[no-untyped-call]  # as above

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        with guarded():
            return super().read_response(*args, **kwargs)


class _Connection(_Guarded, redis.Connection):
    pass


class _SslConnection(_Guarded, redis.SSLConnection):
    pass


class _UnixConnection(_Guarded, redis.UnixDomainSocketConnection):
    pass


_GUARDED: dict[Any, Any] = {
    redis.Connection: _Connection,
    redis.SSLConnection: _SslConnection,
    redis.UnixDomainSocketConnection: _UnixConnection,
}


class GuardedPool(redis.ConnectionPool):
    """Connections with short time-outs, none of them used while Redis is left alone."""

    def __init__(self, connection_class: Any = redis.Connection, **options: Any) -> None:
        timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        super().__init__(connection_class=_GUARDED.get(connection_class, connection_class), **{**timeouts, **options})


@cache
def redis_client(database: int) -> "redis.Redis":
    """Return this process's client of one of Redis's databases."""
    return redis.Redis(connection_pool=GuardedPool.from_url(f"{settings.REDIS_URL}/{database}"))
