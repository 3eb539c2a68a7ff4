"""What the pipeline hands over to be stored, and what is read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import msgspec

from telemetry.buckets import Buckets

NumberOrText = float | str


class NewReading(msgspec.Struct, frozen=True, gc=False):
    """One value of one metric at one time; exactly one of `value` and `text` is set. Booleans are 0.0 and 1.0.

    `value` is finite, `text` has at most 1024 characters and no NUL, `ts` lies inside the age policy.
    """

    device_id: int
    metric_id: int
    ts: datetime
    received_at: datetime
    value: float | None
    text: str | None
    quality: int


@dataclass(frozen=True, slots=True)
class NewRejection:
    """A message, or the part of one, that could not be stored. `reason` is a short code, `detail` says what to change."""

    received_at: datetime
    protocol: str
    source: str
    device_id: int | None
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """`stored + duplicates` equals the readings handed over; `stored_by_day` splits `stored` by UTC day of source time."""

    stored: int
    duplicates: int
    stored_by_day: Mapping[date, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class IngestCount:
    """What became of a batch of one listener, for the ledger. Values are counted; a message refused as a whole is one."""

    listener: str
    received: int
    stored: int
    duplicate: int
    rejected_by_reason: Mapping[str, int]
    messages: int
    messages_repeated: int
    messages_rejected: int
    stored_by_day: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The ledger of one listener over one span of time that begins at `time`."""

    time: datetime
    listener: str
    received: int
    stored: int
    duplicate: int
    rejected: int
    rejected_by_reason: Mapping[str, int]
    messages: int
    messages_repeated: int
    messages_rejected: int

    @property
    def adds_up(self) -> bool:
        return self.received == self.stored + self.duplicate + self.rejected and self.rejected == sum(self.rejected_by_reason.values())


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The newest value of one metric of a device."""

    metric: str
    name: str
    value: bool | float | str
    unit: str
    quality: int
    ts: datetime


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One stored value."""

    metric: str
    ts: datetime
    value: bool | float | str
    quality: int


@dataclass(frozen=True, slots=True)
class NumberPoint:
    """One stored number of a series that the reader knows."""

    ts: datetime
    value: float
    quality: int


@dataclass(frozen=True, slots=True)
class HistoryBucket:
    """What happened in one span of time that begins at `ts`; `quality` is the worst in it.

    A figure is None where there is none: in an empty bucket, where it was not asked for, beyond what a float can say.
    `time_weighted` may be there without a reading: a value from before holds on.
    """

    metric: str
    ts: datetime
    count: int
    average: float | None
    minimum: float | None
    maximum: float | None
    total: float | None
    quality: int | None
    first: float | None = None
    last: float | None = None
    time_weighted: float | None = None
    increase: float | None = None


@dataclass(frozen=True, slots=True)
class BucketQuery:
    """Which buckets: from `start` (inclusive) to `end` (exclusive), `limit` spans of time a page.

    `aggregates` names what is wanted beside count, average, minimum, maximum and total: see `telemetry.bucket_history`.
    """

    start: datetime
    end: datetime
    buckets: Buckets
    aggregates: frozenset[str] = frozenset()
    limit: int = 1000
    newest_first: bool = False
    with_gaps: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some points, in the order asked for; `next_cursor` is None on the last page."""

    points: list[HistoryPoint]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class BucketPage:
    """Some buckets; `rest` is the span that the following pages cover, None on the last one."""

    buckets: list[HistoryBucket]
    rest: tuple[datetime, datetime] | None


def as_shown(value: float | None, text: str | None, *, is_boolean: bool) -> bool | float | str:
    """Return a stored value as people sent it: booleans are kept as 0 and 1."""
    if value is None:
        return text or ""
    return value != 0 if is_boolean else value
