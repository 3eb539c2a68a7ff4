"""Look-ups shared through Redis: what one process has read of devices, metrics and rules, another need not ask the database for.

A leaf of plain bytes. Whoever changes what is looked up calls `announce_change` in the same transaction: PostgreSQL tells
the listeners when it commits (NOTIFY), and a new generation makes everything of the tenant in Redis unreachable. All of
it is best effort: without Redis nothing is found, nobody waits longer than `TIMEOUT_SECONDS`, and after a failure it is left
alone for `PAUSE_SECONDS`. What Redis still holds by mistake ends with `TTL_SECONDS`.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import connection, transaction

from iiot_site.lib.schemas import current_schema

logger = logging.getLogger(__name__)

CHANNEL = "iiot_lookups"
TTL_SECONDS = 60
GENERATION_TTL_SECONDS = 10 * TTL_SECONDS
TIMEOUT_SECONDS = 0.2
PAUSE_SECONDS = 5.0

_left_alone_until = 0.0


def announce_change(*, device: str = "") -> None:
    """Say that something of the current tenant changes, or one device (by key) alone; call it in the transaction that does it."""
    schema = current_schema()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{schema} {device}"])
    transaction.on_commit(lambda: begin_generation(schema))


def announce_devices(keys: Sequence[str]) -> None:
    """Say that these devices (by key) of the current tenant change, in one statement; call it in the transaction that does it."""
    schema = current_schema()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s || ' ' || key) FROM unnest(%s::text[]) AS key", [CHANNEL, schema, list(keys)])
    transaction.on_commit(lambda: begin_generation(schema))


def begin_generation(schema: str) -> None:
    """Let nobody find any more what was stored of this tenant."""
    _ask(lambda client: client.pipeline().incr(_generation_key(schema)).expire(_generation_key(schema), GENERATION_TTL_SECONDS).execute())


def find_many(schema: str, kind: str, keys: Sequence[str]) -> tuple[str, dict[str, bytes]]:
    """Return what is stored under these keys, and the generation to store under what is looked up instead ("" for: do not)."""
    answer = _ask(lambda client: client.get(_generation_key(schema)) or b"0")
    if answer is None:
        return "", {}
    generation = bytes(answer).decode()
    found = _ask(lambda client: client.mget([_key(schema, generation, kind, key) for key in keys]))
    return generation, {key: bytes(value) for key, value in zip(keys, found or (), strict=False) if value is not None}


def store_many(schema: str, kind: str, generation: str, values: Mapping[str, bytes]) -> None:
    """Keep these for other processes, and for this one after a restart."""
    if not generation or not values:
        return

    def store(client: "redis.Redis") -> Any:
        pipeline = client.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(_key(schema, generation, kind, key), value, ex=TTL_SECONDS)
        return pipeline.execute()

    _ask(store)


def _generation_key(schema: str) -> str:
    return f"iiot:lookups:{schema}"


def _key(schema: str, generation: str, kind: str, key: str) -> str:
    return f"iiot:lookups:{schema}:{generation}:{kind}:{key}"


def _ask(question: Any) -> Any:
    """Ask Redis; None where it does not answer."""
    global _left_alone_until  # noqa: PLW0603  # one breaker for the process
    if not settings.IIOT_SHARED_LOOKUPS or time.monotonic() < _left_alone_until:
        return None
    try:
        return question(_client(settings.REDIS_URL))
    except (redis.RedisError, OSError) as exc:
        logger.warning("look-ups do without Redis for %.0f s: %s", PAUSE_SECONDS, exc)
        _left_alone_until = time.monotonic() + PAUSE_SECONDS
        return None


@cache
def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(f"{url}/0", socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
