"""Failed logins per account and per address, in PostgreSQL: what protects accounts does not go with a cache.

A row per limit and whom it names, by digest alone. Where the database is away nobody can log in anyway: it fails closed.
Rows are always taken in the order of their keys, so that two logins wait for each other instead of deadlocking.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

PRUNED_AT_ONCE = 100

_COUNT_SQL = """
INSERT INTO public.tenants_loginfailures AS known (key, failures, until) SELECT * FROM unnest(%s::text[], %s::int[], %s::timestamptz[])
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN known.until <= %s THEN 1 ELSE known.failures + 1 END,
    until = CASE WHEN known.until <= %s THEN excluded.until ELSE known.until END
RETURNING key, failures, until
"""
_GIVE_BACK_SQL = """
UPDATE public.tenants_loginfailures AS known SET failures = greatest(known.failures - 1, 0) FROM (
    SELECT key FROM public.tenants_loginfailures JOIN unnest(%s::text[], %s::timestamptz[]) AS counted (key, until) USING (key, until)
    ORDER BY key FOR UPDATE
) AS mine WHERE known.key = mine.key
"""
_PRUNE_SQL = """
DELETE FROM public.tenants_loginfailures WHERE key IN (
    SELECT key FROM public.tenants_loginfailures WHERE until <= %s ORDER BY until LIMIT %s FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True)
class LoginLimit:
    """At most `count` failures per `period` of whoever `who` names; the period begins with the first one."""

    name: str
    count: int
    period: timedelta
    who: str

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.name} {self.who}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CountedAttempt:
    """What an attempt used up, by key, until when; nothing of it where somebody has to wait."""

    untils: dict[str, datetime]
    wait_seconds: int


def count_attempt(*, limits: Sequence[LoginLimit], now: datetime) -> CountedAttempt:
    """Use up one of each limit, or none where one of them has no room."""
    counts = {limit.key: limit for limit in sorted(limits, key=lambda limit: limit.key)}
    untils = [now + limit.period for limit in counts.values()]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_COUNT_SQL, [list(counts), [1] * len(counts), untils, now, now])
        rows = cursor.fetchall()
        waits = [math.ceil((until - now).total_seconds()) for key, failures, until in rows if failures > counts[key].count]
        if waits:
            transaction.set_rollback(True)
            return CountedAttempt({}, max(waits))
        cursor.execute(_PRUNE_SQL, [now, PRUNED_AT_ONCE])
    return CountedAttempt({key: until for key, _, until in rows}, 0)


def give_back(attempt: CountedAttempt) -> None:
    """Undo `count_attempt`: only failures use up the limits."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK_SQL, [list(attempt.untils), list(attempt.untils.values())])
