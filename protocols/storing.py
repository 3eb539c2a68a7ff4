"""One tenant's part of a batch: its messages decoded, judged and stored, inside the caller's transaction and the tenant's schema."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.conf import settings
from django.db import transaction

from devices.keys import is_metric_key
from devices.services import record_activity, register_metrics
from devices.types import Detection, DeviceRef, MetricRef, NewMetric
from iiot_site.lib.clock import put_on_database_clock
from protocols.accounting import count_ingest, count_repeated, find_refused
from protocols.activity import remember_written, select_due
from protocols.codecs.registry import AUTO, FrameContext, decode_frame
from protocols.deliveries import find_duplicates, record_deliveries
from protocols.detection import detect, remember_detections
from protocols.errors import MessageError, RateLimitedError
from protocols.frames import list_watched
from protocols.handoff import Committed, StoredValue
from protocols.interpretation import Receipt, TimePolicy, count_ticks, data_type_of, interpret_samples
from protocols.progress import Progress
from protocols.receipt_times import claim_receipt_time
from protocols.resolution import forget_metrics, resolve_devices, resolve_metrics
from protocols.senders import find_sender_fault, unknown_device
from protocols.services import record_refused_messages
from protocols.types import BatchOutcome, NoValue, RawMessage, Refusal, Sample
from protocols.unknown_values import settle_nulls
from telemetry.services import record_ingest, record_rejections, store_readings
from telemetry.types import NewRejection

logger = logging.getLogger(__name__)

TOO_MANY = "More messages than one sender may send; send less often, or several values in one message."

Group = Sequence[tuple[int, RawMessage]]  # each with its index in the batch
_NO_METRICS: Mapping[str, MetricRef] = {}


@dataclass(frozen=True, slots=True)
class Batch:
    """What is the same for all messages of a batch."""

    uncovered: Collection[int]
    until: Mapping[str, int]
    now: datetime
    hand_on: Callable[[Committed], None]
    progress: Progress


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message of the batch after decoding: samples, or the fault (code and detail) that took their place.

    Not the exception: by its traceback it would keep the whole batch, in a ring that the collector does not see here.
    """

    index: int
    message: RawMessage
    samples: Sequence[Sample]
    fault: tuple[str, str] | None
    needs_stamp: bool = False
    codec: str = ""
    can_come_again_unnoticed: bool = True  # its readings carry no time of their own that would identify them


def decode_all(schema: str, group: Group, batch: Batch) -> list[Item]:
    """Decode the messages of one tenant; what is beyond its sender's credit is not even read."""
    devices = resolve_devices(schema, {message.device for _, message in group})
    max_bytes = settings.IIOT_MAX_MESSAGE_BYTES
    return [
        _decode(index, message, devices.get(message.device), max_bytes)
        if index not in batch.uncovered
        else Item(index, message, (), (RateLimitedError.code, TOO_MANY))
        for index, message in group
    ]


def _decode(index: int, message: RawMessage, device: DeviceRef | None, max_bytes: int) -> Item:
    """Decode as the transport says, else as the device's type says."""
    remembered = ""
    if device is None:
        codec, context = message.codec or AUTO, FrameContext(max_bytes, message.received_at, message.device)
    else:
        codec, remembered = message.codec or device.codec, device.detected_codec
        context = FrameContext(max_bytes, message.received_at, device.key, device.sole_metric, device.line_precision)
    try:
        decoded = decode_frame(message.payload, codec=codec, context=context, remembered=remembered)
    except MessageError as error:
        return Item(index, message, (), (error.code, error.detail))
    needs_stamp = counts_from_receipt = False
    for sample in decoded.samples:
        needs_stamp = needs_stamp or sample.ts is None
        counts_from_receipt = counts_from_receipt or sample.counts_from_receipt
    return Item(index, message, decoded.samples, None, needs_stamp, decoded.codec, needs_stamp or counts_from_receipt)


def store(schema: str, items: Sequence[Item], batch: Batch) -> tuple[BatchOutcome, Committed]:
    """Write everything of one tenant, inside the caller's transaction."""
    now = batch.now
    unmarked = {item.index: item.message for item in items if item.can_come_again_unnoticed and item.message.delivery is not None}
    repeated = find_duplicates(unmarked)
    fresh = [item for item in items if item.index not in repeated]
    devices = resolve_devices(schema, {item.message.device for item in fresh})
    metrics = _resolve_metrics(schema, fresh, devices, now)
    values: list[StoredValue] = []
    refusals: list[Refusal] = []
    seen: dict[int, datetime] = {}
    detected: dict[int, Detection] = {}
    policy = time_policy()
    for item in fresh:
        device = devices.get(item.message.device)
        refusal = _refuse_whole(item, device)
        if refusal is not None or device is None:
            refusals += [refusal] if refusal else []
            continue
        seen[device.id] = max(item.message.received_at, seen.get(device.id, item.message.received_at))
        known = metrics.get(device.device_type_id, _NO_METRICS)
        receipt = _receipt(item, batch)
        readings, refused = interpret_samples(item.samples, device=device, metrics=known, receipt=receipt, policy=policy)
        for reading, metric in readings:
            values.append(StoredValue(device, metric, reading))
        refusals += refused
        if readings and device.id not in detected and (found := detect(device, protocol=item.message.protocol, codec=item.codec)):
            detected[device.id] = found
    sample_counts = {item.index: len(item.samples) for item in items}
    if any(isinstance(refusal, NoValue) for refusal in refusals):
        values, refusals = settle_nulls(values, refusals, sample_counts)
    outcome = store_readings(readings=[value.reading for value in values], now=now)
    record_rejections(rejections=_rejections(refusals, {item.index: item.message for item in fresh}, devices))
    _record_activity(schema, seen, items[0].message.protocol)
    remember_detections(schema, detected, now=now)
    record_deliveries(unmarked.values(), delivery_until=batch.until)
    record_ingest(
        count=count_ingest(
            listener=items[0].message.protocol,
            sample_counts=sample_counts,
            repeated=repeated,
            refusals=refusals,
            outcome=outcome,
        ),
        now=now,
    )
    duplicates = outcome.duplicates + sum(count_repeated(len(item.samples)) for item in items if item.index in repeated)
    nothing_taken = find_refused(sample_counts, refusals)
    wanted = list_watched(schema)
    frames = [i.message for i in fresh if i.message.device in wanted and i.index not in nothing_taken] if wanted else ()
    return BatchOutcome(outcome.stored, duplicates, refusals, nothing_taken), Committed(schema, tuple(values), len(items), now, frames)


def _record_activity(schema: str, seen: Mapping[int, datetime], listener: str) -> None:
    due = select_due(schema, seen)
    if due:
        record_activity(seen={device_id: put_on_database_clock(seen_at) for device_id, seen_at in due.items()}, via=listener)
        transaction.on_commit(lambda: remember_written(schema, due))


def _resolve_metrics(
    schema: str, items: Sequence[Item], devices: Mapping[str, DeviceRef], now: datetime
) -> dict[int, dict[str, MetricRef]]:
    """Return the metrics of all devices in the batch by type and key, those among them that had to be registered too."""
    metrics = resolve_metrics(schema, {device.device_type_id for device in devices.values()})
    missing: dict[tuple[int, str], NewMetric] = {}
    for item in items:
        device = devices.get(item.message.device)
        if device is None or not device.is_enabled or not device.registers_unknown_metrics:
            continue
        type_id = device.device_type_id
        known = metrics[type_id]
        for sample in item.samples:
            key = sample.metric
            if key not in known and (type_id, key) not in missing and sample.value is not None and is_metric_key(key):
                missing[type_id, key] = NewMetric(type_id, key, data_type_of(sample.value))
    if missing:
        for (type_id, key), metric in register_metrics(metrics=list(missing.values()), now=now).items():
            metrics[type_id] = {**metrics[type_id], key: metric}  # the former one is in a cache
        type_ids = {type_id for type_id, _ in missing}
        transaction.on_commit(lambda: forget_metrics(schema, type_ids))
    return metrics


def _refuse_whole(item: Item, device: DeviceRef | None) -> Refusal | None:
    if device is None:
        return Refusal(item.index, *unknown_device(item.message))
    fault = find_sender_fault(item.message, gateway_key=device.gateway_key, is_enabled=device.is_enabled)
    if fault is not None:
        return Refusal(item.index, *fault)
    if item.fault is not None:
        return Refusal(item.index, *item.fault)
    return None


def _receipt(item: Item, batch: Batch) -> Receipt:
    message = item.message
    received_at = put_on_database_clock(message.received_at)  # it becomes the time of readings that have none
    stamp = received_at
    if item.needs_stamp:
        known = batch.progress.stamps.get(item.index)
        stamp = known or claim_receipt_time(
            tenant=message.tenant, device=message.device, received_at=received_at, ticks=count_ticks(item.samples)
        )
        batch.progress.stamps[item.index] = stamp
    return Receipt(item.index, received_at, stamp, batch.now)


def time_policy() -> TimePolicy:
    """Return how old and how far ahead readings may be here."""
    return TimePolicy(timedelta(days=settings.IIOT_MAX_READING_AGE_DAYS), timedelta(seconds=settings.IIOT_MAX_READING_FUTURE_SECONDS))


def _rejections(refusals: Sequence[Refusal], messages: Mapping[int, RawMessage], devices: Mapping[str, DeviceRef]) -> list[NewRejection]:
    """Make one row for each message and reason, however many of its values share it; one for a device's whole flood."""
    grouped: dict[tuple[int | str, str], list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        is_flood = refusal.reason == RateLimitedError.code
        grouped[messages[refusal.index].device if is_flood else refusal.index, refusal.reason].append(refusal)
    rejections = []
    for (_, reason), group in grouped.items():
        message = messages[group[0].index]
        device = devices.get(message.device)
        what = "messages" if reason == RateLimitedError.code else "values"
        more = f" (and {len(group) - 1} more {what})" if len(group) > 1 else ""
        rejections.append(make_rejection(message, device.id if device else None, reason, group[0].detail + more))
    return rejections


def make_rejection(message: RawMessage, device_id: int | None, reason: str, detail: str) -> NewRejection:
    """Return the row that people find a refused message by."""
    return NewRejection(
        received_at=message.received_at,
        protocol=message.protocol,
        source=message.source,
        device_id=device_id,
        reason=reason,
        detail=detail,
        payload=message.payload,
    )


def refuse_culprit(item: Item, cause: BaseException, now: datetime) -> BatchOutcome:
    """Give up on the one message that cannot be stored, and keep it for people to look into."""
    logger.error("refused a message of %s that cannot be stored", item.message.source, exc_info=cause)
    detail = "The platform could not store this message; its operator finds the cause in the log."
    rejection = make_rejection(item.message, None, "internal_error", f"{detail} ({type(cause).__name__})")
    record_refused_messages(rejections=[rejection], now=now)
    return BatchOutcome(0, 0, [Refusal(item.index, "internal_error", detail)], frozenset({item.index}))
