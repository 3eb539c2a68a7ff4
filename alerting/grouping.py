"""Which incident a signal belongs to. Pure."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class Candidate:
    """What grouping needs to know about an incident. `resolved_at` is None while it is open."""

    incident_id: uuid.UUID
    dedup_key: str
    resolved_at: datetime | None
    resolved_automatically: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a signal goes; `open` has no incident yet."""

    action: Literal["join", "reopen", "open"]
    incident_id: uuid.UUID | None = None


def place_signal(*, dedup_key: str, candidates: Iterable[Candidate], now: datetime, reopen_within: timedelta) -> Placement:
    """Choose among incidents, newest first: join the open one, else reopen one that just resolved by itself, else open.

    What a person resolved stays resolved: their judgement is not undone, and the new incident asks again.
    """
    same = [candidate for candidate in candidates if candidate.dedup_key == dedup_key]
    for candidate in same:
        if candidate.resolved_at is None:
            return Placement("join", candidate.incident_id)
    newest = same[0] if same else None
    if newest is None or newest.resolved_at is None or not newest.resolved_automatically:
        return Placement("open")
    if now - newest.resolved_at <= reopen_within:
        return Placement("reopen", newest.incident_id)
    return Placement("open")
