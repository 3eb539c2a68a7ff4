"""Reads, locks and writes what rules know about series. Called by `rules.services` inside its transaction."""

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection

from rules.conditions.evaluation import SeriesState
from rules.models import RuleState
from rules.types import StateKey

# Older than any reading that the age policy lets in: a state that has not seen one yet.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

_KEYS = """
FROM unnest(%s::uuid[], %s::integer[], %s::smallint[]) AS k(rule_id, device_id, metric_id)
JOIN rules_rulestate s USING (rule_id, device_id, metric_id)
"""
_FIND_SQL = f"SELECT s.rule_id, s.device_id, s.metric_id {_KEYS}"
_LOCK_SQL = f"""
SELECT s.rule_id, s.device_id, s.metric_id, s.id, s.is_firing, s.since, s.last_ts, s.last_value {_KEYS}
ORDER BY s.rule_id, s.device_id, s.metric_id FOR UPDATE OF s
"""
_WRITE_SQL = """
UPDATE rules_rulestate AS s
SET is_firing = v.is_firing, since = v.since, last_ts = v.last_ts, last_value = v.last_value
FROM unnest(%s::bigint[], %s::boolean[], %s::timestamptz[], %s::timestamptz[], %s::float8[])
    AS v(id, is_firing, since, last_ts, last_value)
WHERE s.id = v.id
"""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A locked row of `RuleState`."""

    id: int
    is_firing: bool
    since: datetime
    last_ts: datetime
    last_value: float

    @property
    def series_state(self) -> SeriesState:
        """Return what the conditions need of it."""
        return SeriesState(self.is_firing, self.last_ts)

    def next_after(self, since: datetime) -> datetime:
        """Return the time after which readings are to be evaluated; from `since` on where none has been yet."""
        return since - _TICK if self.last_ts == NEVER else self.last_ts

    def moved_to(self, *, is_firing: bool, ts: datetime, value: float) -> "StoredState":
        """Return the row after a decision; `since` moves only with a change, and with the first reading."""
        is_new = self.last_ts == NEVER or is_firing != self.is_firing
        return dataclasses.replace(self, is_firing=is_firing, since=ts if is_new else self.since, last_ts=ts, last_value=value)


def lock_states(keys: Collection[StateKey]) -> dict[StateKey, StoredState]:
    """Return the states of all `keys` and no others, locked; what is missing is created.

    Everybody creates and then locks in the order of the keys, so concurrent batches wait for each other in turn.
    """
    columns = ([key.rule_id for key in keys], [key.device_id for key in keys], [key.metric_id for key in keys])
    with connection.cursor() as cursor:
        cursor.execute(_FIND_SQL, columns)
        known = {StateKey(*row) for row in cursor.fetchall()}
    RuleState.objects.bulk_create(
        [
            RuleState(rule_id=key.rule_id, device_id=key.device_id, metric_id=key.metric_id, since=NEVER, last_ts=NEVER, last_value=0)
            for key in sorted(set(keys) - known)
        ],
        ignore_conflicts=True,
    )
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_SQL, columns)
        return {StateKey(*row[:3]): StoredState(*row[3:]) for row in cursor.fetchall()}


def write_states(states: Iterable[StoredState]) -> None:
    """Write locked states back, in one statement."""
    rows = [(s.id, s.is_firing, s.since, s.last_ts, s.last_value) for s in states]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE_SQL, [list(column) for column in zip(*rows, strict=True)])
