"""What devices say besides readings: answers to commands, their state, and that they are connected or gone (an MQTT last will).

An answer is `{"id": "<command's id>", "status": "ok" | "failed", "data": any JSON, "error": "text"}`, or the same in CBOR,
without an id where the channel names the command (`response/<id>`). A connection message
is `online` or `offline`, as text, as JSON text or as `{"status": …}`. A reported state is a JSON merge patch, or the same in
CBOR; the question what is desired has no content that matters. Taking any in twice is taking it in once, so none needs a record
of its delivery.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import DataError, IntegrityError
from django_tenants.utils import tenant_context

from alerting.device_notices import tell_firing_again
from devices.command_services import record_response
from devices.connection_services import ConnectionWord, record_connections
from devices.models import Device
from devices.services import record_activity
from devices.state_services import record_reported, request_state
from iiot_site.lib.clock import put_on_database_clock
from iiot_site.lib.errors import IIoTError
from protocols.codecs.cbor import parse_cbor
from protocols.codecs.gate import parse_json
from protocols.errors import InvalidResponseError, MessageError, RateLimitedError
from protocols.senders import find_sender_fault, unknown_device
from protocols.services import count_unrouted, record_refused_messages
from protocols.types import REPORTED, RESPONSE, STATE_GET, STATUS, UNKNOWN_TENANT, RawMessage, Refusal
from telemetry.types import NewRejection
from tenants.selectors import get_active_tenant

logger = logging.getLogger(__name__)

_ANSWERS = ("ok", "failed")  # no set: what came may not be hashable
_CONNECTIONS = {"online": True, "offline": False}
# What data can cause; anything else is not the message's fault, and the batch comes again.
_DATA_ERRORS = (DataError, IntegrityError, ValueError, TypeError, ArithmeticError, LookupError)
_FORM = 'Send {"id": "<the command\'s id>", "status": "ok" or "failed", "data": …, "error": "…"}.'


def take_in(messages: Sequence[tuple[int, RawMessage]], *, uncovered: Collection[int], now: datetime) -> list[Refusal]:
    """Take in messages of any number of tenants; return what was refused.

    Raises:
        django.db.Error: for no fault of a message; the same messages are to be tried again.
    """
    groups: dict[tuple[str, str], list[tuple[int, RawMessage]]] = defaultdict(list)
    for index, message in messages:
        groups[message.tenant, message.protocol].append((index, message))
    refusals: list[Refusal] = []
    for (slug, protocol), group in groups.items():
        tenant = get_active_tenant(slug)
        if tenant is None:
            count_unrouted(listener=protocol, messages=len(group), now=now)
            refusals += [Refusal(index, UNKNOWN_TENANT, "There is no active tenant of this name.") for index, _ in group]
            continue
        with tenant_context(tenant):
            refusals += _take_in_tenant(group, uncovered, now)
    return refusals


def _take_in_tenant(group: Sequence[tuple[int, RawMessage]], uncovered: Collection[int], now: datetime) -> list[Refusal]:
    keys = {message.device for _, message in group if "\0" not in message.device}
    devices = {device.key: device for device in Device.objects.select_related("device_type", "gateway").filter(key__in=keys)}
    refusals: list[Refusal] = []
    heard: dict[int, datetime] = {}
    words: dict[int, ConnectionWord] = {}  # only the last of each device matters
    refused: IIoTError
    for index, message in group:
        try:
            if index in uncovered:
                raise RateLimitedError("More messages than one sender may send; send less often.")
            device = _find_sender(message, devices)
            word = _take_in_one(message, device, now)
        except IIoTError as error:
            refused = error
        except _DATA_ERRORS as error:
            logger.exception("refused a message of %s that cannot be taken in", message.source)
            refused = _RefusedError("internal_error", f"The platform could not take this message in ({type(error).__name__}).")
        else:
            if word is not None:
                words[device.pk] = word
            if word is None or word.is_online:  # a last will is the broker's word, not the device's
                seen_at = put_on_database_clock(message.received_at)
                heard[device.pk] = max(seen_at, heard.get(device.pk, seen_at))
            continue
        refusals.append(Refusal(index, refused.code, refused.detail))
    _record_presence(heard, words, via=group[0][1].protocol, now=now)
    _record_refusals(refusals, dict(group), devices, now)
    return refusals


def _find_sender(message: RawMessage, devices: Mapping[str, Device]) -> Device:
    device = devices.get(message.device)
    if device is None:
        raise _RefusedError(*unknown_device(message))
    gateway_key = device.gateway.key if device.gateway else ""
    if fault := find_sender_fault(message, gateway_key=gateway_key, is_enabled=device.is_enabled):
        raise _RefusedError(*fault)
    return device


def _take_in_one(message: RawMessage, device: Device, now: datetime) -> ConnectionWord | None:
    """Take in what a device says; return it where it is a word on its connection."""
    if message.channel == STATUS:
        return ConnectionWord(device, read_connection(message.payload), message.received_at)
    if message.channel == REPORTED:
        record_reported(device=device, patch=_parse(message.payload, message.codec), now=now)
    elif message.channel == STATE_GET:
        request_state(device=device, now=now)
    else:
        record_response(device_key=device.key, now=now, **read_response(message.payload, channel=message.channel, codec=message.codec))
    return None


def _record_presence(heard: Mapping[int, datetime], words: Mapping[int, ConnectionWord], *, via: str, now: datetime) -> None:
    """Note who was heard and who is connected: a few statements for the batch, be they ten thousand after a broker's restart."""
    if heard:
        record_activity(seen=heard, via=via)
    if words:
        record_connections(words=list(words.values()))
        tell_firing_again(device_ids=[device_id for device_id, word in words.items() if word.is_online], now=now)


def _record_refusals(refusals: Sequence[Refusal], messages: Mapping[int, RawMessage], devices: Mapping[str, Device], now: datetime) -> None:
    """Keep each refused message; of a device's flood the first, which says how many there were."""
    groups: dict[int | str, list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        groups[messages[refusal.index].device if refusal.reason == RateLimitedError.code else refusal.index].append(refusal)
    rejections = []
    for group in groups.values():
        message = messages[group[0].index]
        more = f" (and {len(group) - 1} more messages)" if len(group) > 1 else ""
        rejections.append(_reject(message, devices.get(message.device), group[0].reason, group[0].detail + more))
    record_refused_messages(rejections=rejections, reasons=[refusal.reason for refusal in refusals], now=now)


class _RefusedError(MessageError):
    """A refusal with a reason of the pipeline's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def read_response(payload: bytes, *, channel: str = RESPONSE, codec: str = "") -> Mapping[str, Any]:
    """Return what `devices.command_services.record_response` wants to know.

    Raises:
        MessageError: the payload is not a response.
    """
    document = _parse(payload, codec)
    if not isinstance(document, dict) or document.get("status") not in _ANSWERS:
        raise InvalidResponseError(_FORM)
    error = document.get("error") or ""
    try:
        command_id = uuid.UUID(channel.partition("/")[2] or document["id"])
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise InvalidResponseError(_FORM) from exc
    if not isinstance(error, str):
        raise InvalidResponseError(_FORM)
    return {"command_id": command_id, "is_done": document["status"] == "ok", "data": document.get("data"), "error": error}


def _parse(payload: bytes, codec: str) -> Any:
    parse = parse_cbor if codec == "cbor" else parse_json
    return parse(payload, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)


def read_connection(payload: bytes) -> bool:
    """Return whether the device says that it is connected.

    Raises:
        MessageError: the payload says neither.
    """
    word: object = payload[:20].decode(errors="replace").strip().lower()
    if word not in _CONNECTIONS:
        word = parse_json(payload, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)
        if isinstance(word, dict):
            word = word.get("status")
    if not isinstance(word, str) or word.lower() not in _CONNECTIONS:
        raise InvalidResponseError('Send online or offline, as text or as {"status": "online"}.')
    return _CONNECTIONS[word.lower()]


def _reject(message: RawMessage, device: Device | None, reason: str, detail: str) -> NewRejection:
    return NewRejection(
        received_at=message.received_at,
        protocol=message.protocol,
        source=message.source,
        device_id=device.pk if device else None,
        reason=reason,
        detail=detail,
        payload=message.payload,
    )
