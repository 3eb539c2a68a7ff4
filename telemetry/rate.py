"""How many messages a tenant sends per second: counters in Redis, one per second. Best effort."""

import logging
from collections import Counter
from datetime import datetime

import redis

from iiot_site.lib.redis_guard import redis_client

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 10
KEPT_SECONDS = 660  # the overview draws ten minutes


def _key(schema: str, second: int) -> str:
    return f"message-rate:{schema}:{second}"


def count_messages(schema: str, n: int, now: datetime) -> None:
    """Count `n` messages of the tenant in the second of `now`; a Redis outage is logged, never raised."""
    tally = MessageTally()
    tally.add(schema, n, now)
    tally.write()


class MessageTally:
    """Counts for a while what comes from any number of tenants, and writes it down in one go. For one thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, schema: str, n: int, now: datetime) -> None:
        """Count `n` messages of the tenant in the second of `now`."""
        self._counts[_key(schema, int(now.timestamp()))] += n

    def write(self) -> None:
        """Write down what was counted since the last time; a Redis outage is logged, never raised."""
        if not self._counts:
            return
        counts, self._counts = self._counts, Counter()
        try:
            with redis_client(0).pipeline(transaction=False) as pipeline:
                for key, n in counts.items():
                    pipeline.incrby(key, n)
                    pipeline.expire(key, KEPT_SECONDS)
                pipeline.execute()
        except (redis.RedisError, OSError) as exc:
            logger.warning("%d messages were not counted for the rate: %s", counts.total(), exc)


def messages_per_second(schema: str, now: datetime) -> float | None:
    """Return the mean rate of the last ten whole seconds; None where Redis does not answer."""
    counts = messages_by_second(schema, now, WINDOW_SECONDS)
    return None if counts is None else sum(counts) / WINDOW_SECONDS


def messages_by_second(schema: str, now: datetime, seconds: int) -> list[int] | None:
    """Return the messages of each of the last whole seconds, oldest first; None where Redis does not answer."""
    second = int(now.timestamp())
    try:
        counts = redis_client(0).mget([_key(schema, second - n) for n in range(seconds, 0, -1)])
    except (redis.RedisError, OSError) as exc:
        logger.warning("the message rate of %s is not known: %s", schema, exc)
        return None
    return [int(count or 0) for count in counts]
