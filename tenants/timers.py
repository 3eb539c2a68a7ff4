"""What is due when, over all tenants, in one table: asking costs by what is due, not by the number of tenants.

A timer that is claimed is moved ahead by the lease, so whoever claimed it and died loses nothing: it comes again. Work
must therefore bear being done twice. `finish_timer` says when the work is next due; whoever set the timer to an earlier
time meanwhile wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

LEASE = timedelta(seconds=60)

_SET_SQL = """
INSERT INTO public.tenants_timer AS known (schema, kind, key, due_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (schema, kind, key) DO UPDATE SET due_at = excluded.due_at WHERE known.due_at > excluded.due_at
"""
# In the order of their ids, so that two of these wait for each other instead of deadlocking.
_HASTEN_SQL = """
UPDATE public.tenants_timer SET due_at = %s WHERE id IN (
    SELECT id FROM public.tenants_timer WHERE kind = %s AND due_at > %s ORDER BY id FOR UPDATE
)
"""
_CLAIM_SQL = """
UPDATE public.tenants_timer AS timer SET due_at = %(leased_until)s FROM (
    SELECT id FROM public.tenants_timer WHERE kind = %(kind)s AND due_at <= %(now)s
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS due WHERE timer.id = due.id RETURNING timer.schema, timer.kind, timer.key, timer.due_at
"""
_FINISH_SQL = """
UPDATE public.tenants_timer
SET due_at = CASE WHEN due_at = %(leased_until)s THEN %(next)s ELSE least(due_at, %(next)s) END
WHERE schema = %(schema)s AND kind = %(kind)s AND key = %(key)s
"""
_END_SQL = "DELETE FROM public.tenants_timer WHERE schema = %(schema)s AND kind = %(kind)s AND key = %(key)s AND due_at = %(leased_until)s"


@dataclass(frozen=True, slots=True)
class ClaimedTimer:
    """A timer that is the caller's until `leased_until`."""

    schema: str
    kind: str
    key: str
    leased_until: datetime


def set_timer(*, schema: str, kind: str, due_at: datetime, key: str = "") -> None:
    """Let `kind` be due at `due_at`, or earlier where it is already."""
    with connection.cursor() as cursor:
        cursor.execute(_SET_SQL, [schema, kind, key, due_at])


def hasten_timers(*, kind: str, due_at: datetime) -> None:
    """Let `kind` be due at `due_at` at the latest in every tenant that has such a timer."""
    with connection.cursor() as cursor:
        cursor.execute(_HASTEN_SQL, [due_at, kind, due_at])


def claim_due_timers(*, kind: str, now: datetime, limit: int = 1_000) -> Sequence[ClaimedTimer]:
    """Take what is due and nobody else has taken, the longest due first."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_SQL, {"kind": kind, "now": now, "leased_until": now + LEASE, "limit": limit})
        return [ClaimedTimer(*row) for row in cursor.fetchall()]


def finish_timer(*, timer: ClaimedTimer, next_due_at: datetime | None) -> None:
    """Say that the work is done, and when it is next due; None where there is nothing more to do."""
    with connection.cursor() as cursor:
        cursor.execute(
            _END_SQL if next_due_at is None else _FINISH_SQL,
            {"schema": timer.schema, "kind": timer.kind, "key": timer.key, "leased_until": timer.leased_until, "next": next_due_at},
        )
