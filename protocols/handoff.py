"""What happens to readings after their commit: live pages, the message rate, rules.

Nothing here undoes what is stored, and where Redis is away that is logged and left: pages read the truth from the API,
and rules read what they missed from the database with the next reading of the series, or by the sweep. A listener hands
on in a thread of its own, and so does the web process (`protocols.web_door`).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import redis.exceptions
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django_tenants.utils import schema_context
from kombu.exceptions import OperationalError as BrokerError

from devices.types import DeviceRef, MetricRef
from iiot_site.lib.redis_guard import guarded
from protocols.frames import keep_frames
from protocols.resolution import resolve_watched_series
from protocols.rules_gate import RulesGate
from protocols.types import RawMessage
from rules.conditions.parsing import Condition
from rules.tasks import evaluate_series_task
from rules.turning_points import TurningPoints
from rules.types import SeriesSince
from telemetry.live import push_readings
from telemetry.models import Quality
from telemetry.rate import MessageTally, count_messages
from telemetry.types import NewReading

logger = logging.getLogger(__name__)

RULES_CHUNK_SIZE = 500
MAX_QUEUED_VALUES = 100_000
TALLY_SECONDS = 0.25


class StoredValue(msgspec.Struct, frozen=True, gc=False):
    """A committed reading with what the live frame says about it."""

    device: DeviceRef
    metric: MetricRef
    reading: NewReading


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed batch of one tenant."""

    schema: str
    values: Sequence[StoredValue]
    message_count: int
    now: datetime
    frames: Sequence[RawMessage] = ()  # of devices that somebody looks at


def hand_on_now(batch: Committed) -> None:
    """Push to live pages, count, and tell the rules which series they watch have something new."""
    count_messages(batch.schema, batch.message_count, batch.now)
    _show(batch)
    since, _ = find_watched(batch)
    tell_rules(batch.schema, since)


def _show(batch: Committed) -> None:
    keep_frames(batch.schema, batch.frames)
    if batch.values:
        push_readings(batch.schema, ((value.device, value.metric, value.reading) for value in batch.values))


def find_watched(batch: Committed, turning_points: TurningPoints | None = None) -> tuple[SeriesSince, bool]:
    """Return the series in the batch that some rule reads, with the time of the oldest reading that can decide something.

    And whether that is urgent: some reading may change what a rule thinks of its series.
    """
    oldest: SeriesSince = {}
    if not batch.values:
        return oldest, False
    try:
        with schema_context(batch.schema):
            watched = resolve_watched_series(batch.schema)
    except (DatabaseError, InterfaceError) as exc:
        logger.warning("rules of %s were not told of %d readings: %s", batch.schema, len(batch.values), exc)
        return oldest, False
    conditions_of: dict[tuple[int, int], tuple[Condition, ...]] = {}
    is_urgent = turning_points is None
    for value in batch.values:
        reading = value.reading
        pair = (reading.device_id, reading.metric_id)
        conditions = conditions_of.get(pair)
        if conditions is None:
            device = value.device
            conditions = conditions_of[pair] = watched.conditions(device.id, device.device_type_id, device.site_id, value.metric.key)
        if conditions and reading.value is not None and reading.quality < Quality.BAD:
            oldest[pair] = min(reading.ts, oldest.get(pair, reading.ts))
            if turning_points is not None and turning_points.may_turn((batch.schema, *pair), conditions, reading.ts, reading.value):
                is_urgent = True
    return oldest, is_urgent


def tell_rules(schema: str, since: SeriesSince) -> None:
    """Queue the evaluation of these series. Where that fails the sweep finds them."""
    if not since:
        return
    series = [[*pair, ts.isoformat()] for pair, ts in since.items()]
    try:
        with schema_context(schema), guarded():
            for start in range(0, len(series), RULES_CHUNK_SIZE):
                evaluate_series_task.apply_async((series[start : start + RULES_CHUNK_SIZE],), retry=False)
    except (BrokerError, redis.exceptions.RedisError, OSError, DatabaseError, InterfaceError) as exc:
        logger.warning("rules of %s were not told of %d series: %s", schema, len(series), exc)


class HandOffThread:
    """Hands on in a thread of its own, so that a slow Redis does not hold up storing and acknowledging."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._batches: queue.Queue[Committed | None] = queue.Queue(capacity)
        self._queued_values = 0
        self._lock = threading.Lock()
        self._gate = RulesGate(tell=tell_rules)
        self._turning_points = TurningPoints()
        self._tally = MessageTally()
        self._write_tally_at = 0.0
        self._thread = threading.Thread(target=self._run, name="hand-off", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, batch: Committed) -> None:
        """Queue a batch; when Redis has been slow for so long that the queue is full, rules read it from the database later."""
        if not self._try_put(batch):
            logger.warning("rules and pages of %s did not get %d readings: too slow", batch.schema, len(batch.values))

    def _try_put(self, batch: Committed) -> bool:
        with self._lock:
            if self._queued_values and self._queued_values + len(batch.values) > MAX_QUEUED_VALUES:
                return False
            try:
                self._batches.put_nowait(batch)
            except queue.Full:
                return False
            self._queued_values += len(batch.values)
            return True

    def stop(self, *, timeout_seconds: float) -> None:
        """Finish what is queued, within the time given."""
        try:
            self._batches.put(None, timeout=timeout_seconds)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            try:
                batch = self._batches.get(timeout=self._wait_seconds(time.monotonic()))
            except queue.Empty:
                self._guard(lambda: self._do_due(time.monotonic()))
                continue
            if batch is None:
                break
            self._guard(lambda batch=batch: self._hand_on(batch))  # type: ignore[misc]  # bound now
            with self._lock:
                self._queued_values -= len(batch.values)
        self._guard(self._tally.write)
        self._guard(self._gate.tell_all)
        connection.close()

    def _hand_on(self, batch: Committed) -> None:
        self._tally.add(batch.schema, batch.message_count, batch.now)
        _show(batch)
        since, is_urgent = find_watched(batch, self._turning_points)
        now_seconds = time.monotonic()
        self._gate.add(batch.schema, since, is_urgent=is_urgent, now_seconds=now_seconds)
        self._do_due(now_seconds)

    def _do_due(self, now_seconds: float) -> None:
        self._gate.tell_due(now_seconds)
        if now_seconds >= self._write_tally_at:
            self._write_tally_at = now_seconds + TALLY_SECONDS
            self._tally.write()

    def _wait_seconds(self, now_seconds: float) -> float | None:
        """Return how long nothing is due; None where nothing will be."""
        waits = [self._gate.wait_seconds(now_seconds), max(0.0, self._write_tally_at - now_seconds) if self._tally else None]
        return min((wait for wait in waits if wait is not None), default=None)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            close_old_connections()  # there is no request around this thread that would drop a broken one
            work()
        except Exception:  # the listener's loop: one bad batch must not end the thread
            logger.exception("handing on failed")
            connection.close()
