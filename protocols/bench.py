"""The codec bench: decode and judge a pasted frame as the pipeline would, and store nothing."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.conf import settings

from devices.keys import is_metric_key
from devices.types import DeviceRef, MetricRef
from iiot_site.lib.schemas import current_schema
from protocols.codecs.registry import AUTO, FrameContext, decode_frame
from protocols.errors import InvalidShapeError, MessageError
from protocols.interpretation import Receipt, data_type_of, interpret_samples
from protocols.resolution import resolve_devices, resolve_metrics
from protocols.senders import find_sender_fault, unknown_device
from protocols.storing import time_policy
from protocols.types import NoValue, RawMessage, Refusal, Sample
from protocols.unknown_values import mark_bad
from telemetry.qualities import BAD

ENCODINGS = {"text": "Text", "base64": "Base64", "hex": "Hexadecimal"}
UNCHECKED_WITHOUT_DEVICE = "whether the device exists and may send, and whether its metrics exist and take such values"
_HEXADECIMAL = re.compile(r"\s*(?:[0-9A-Fa-f]{2}\s*){4,}\Z")
_BASE64 = re.compile(r"\s*(?:[A-Za-z0-9+/]{6,}={1,2}|[A-Za-z0-9+/]{24,})\s*\Z")
# Stands for a device that is not named: nothing of it is known, so nothing of it is judged.
_ANY_DEVICE = DeviceRef(0, UUID(int=0), "", "", 0, None, registers_unknown_metrics=True, is_enabled=True)


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """A decoded value and what becomes of it; `quality` is the stored one."""

    sample: Sample
    refusal: Refusal | None
    quality: int
    is_new_metric: bool = False


@dataclass(frozen=True, slots=True)
class JudgedFrame:
    """What a frame holds and what the pipeline would do with it; `refusal` concerns all of it."""

    codec: str
    samples: Sequence[JudgedSample]
    refusal: Refusal | None
    unchecked: str

    @property
    def refused_count(self) -> int:
        return len(self.samples) if self.refusal else sum(judged.refusal is not None for judged in self.samples)


def judge_pasted(*, payload: str, encoding: str, codec: str, device: str, line_precision: str, now: datetime) -> JudgedFrame:
    """Decode what a person pasted and judge it for a device of the current tenant; without one, what can be judged so.

    Raises:
        MessageError: a subclass that names what is wrong with the frame, or with its encoding.
    """
    schema = current_schema()
    known = resolve_devices(schema, {device}).get(device) if device else None
    found = known or _ANY_DEVICE
    context = FrameContext(settings.IIOT_MAX_MESSAGE_BYTES, now, device, found.sole_metric, line_precision)
    chosen = found.codec if codec == AUTO else codec
    try:
        frame = decode_frame(_to_bytes(payload, encoding), codec=chosen, context=context, remembered=found.detected_codec)
    except MessageError as error:
        if encoding == "text" and (looks_like := _find_writing(payload)):
            raise type(error)(f"{error.detail} It looks like {looks_like}: say so where you paste it.") from error
        raise
    metrics = resolve_metrics(schema, {known.device_type_id})[known.device_type_id] if known else {}
    judged = _judge_samples(frame.samples, found, dict(metrics), now)
    refusal = _judge_sender(device, known, now) if device else None
    return JudgedFrame(frame.codec, judged, refusal, "" if device else UNCHECKED_WITHOUT_DEVICE)


def _judge_sender(key: str, device: DeviceRef | None, now: datetime) -> Refusal | None:
    message = RawMessage(tenant="", device=key, payload=b"", received_at=now, protocol="", source="")
    if device is None:
        return Refusal(0, *unknown_device(message))
    fault = find_sender_fault(message, gateway_key=device.gateway_key, is_enabled=device.is_enabled)
    return Refusal(0, *fault) if fault else None


def _judge_samples(samples: Sequence[Sample], device: DeviceRef, metrics: dict[str, MetricRef], now: datetime) -> list[JudgedSample]:
    """Judge one value after the other; a metric that would be registered gets its type from the first."""
    receipt, policy = Receipt(0, now, now, now), time_policy()
    judged: list[JudgedSample] = []
    nulls: dict[int, NoValue] = {}
    for place, sample in enumerate(samples):
        key, value = sample.metric, sample.value
        is_new = key not in metrics and device.registers_unknown_metrics and value is not None and is_metric_key(key)
        if is_new and value is not None:
            metrics[key] = MetricRef(0, key, "", data_type_of(value), None, None)
        readings, refused = interpret_samples([sample], device=device, metrics=metrics, receipt=receipt, policy=policy)
        quality = readings[0][0].quality if readings else sample.quality
        if refused and isinstance(refused[0], NoValue):
            nulls[place] = refused[0]
        judged.append(JudgedSample(sample, refused[0] if refused else None, quality, is_new and device is not _ANY_DEVICE))
    places = list(nulls)
    for place in (places[number] for number in mark_bad(list(nulls.values()))):
        judged[place] = replace(judged[place], refusal=None, quality=BAD)
    return judged


def _find_writing(payload: str) -> str:
    """Tell how a frame is written that was pasted as text; "" where it may well be text."""
    if _HEXADECIMAL.match(payload):
        return ENCODINGS["hex"].lower()
    return ENCODINGS["base64"] if _BASE64.match(payload) else ""


def _to_bytes(payload: str, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode("".join(payload.split()), validate=True)
        if encoding == "hex":
            return bytes.fromhex(payload)
        return payload.encode()
    except (ValueError, binascii.Error) as exc:
        raise InvalidShapeError(f"The frame is not {ENCODINGS[encoding]}; paste it whole, or choose how it is written.") from exc
