"""`POST /telemetry`, which shares its path with the history of readings, and the listeners."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import BooleanField, Count, ExpressionWrapper, Q, QuerySet, Window
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import ListAPIView
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.authentication import DeviceTokenAuthentication
from devices.types import DeviceRef
from protocols.api.envelopes import Envelope, read_envelopes
from protocols.api.serializers import ListenerSerializer, StoredSerializer
from protocols.codecs.cbor import parse_cbor
from protocols.codecs.gate import parse_json
from protocols.codecs.registry import codec_of_content_type
from protocols.errors import MessageError, MessageRefusedError
from protocols.models import ListenerState
from protocols.pipeline import process_messages
from protocols.selectors import ALIVE_WITHIN
from protocols.services import record_refused_messages
from protocols.types import BatchOutcome, RawMessage, Refusal
from protocols.web_door import web_door
from telemetry.api.views import HistoryView
from telemetry.types import NewRejection

SOURCE = "POST /api/v1/telemetry"
# Formats that may carry messages of several devices, each naming its own.
ENVELOPE_PARSERS: dict[str, Callable[..., object]] = {"json": parse_json, "cbor": parse_cbor}

FLAT_EXAMPLE = OpenApiExample("By a device, with its token", {"temperature": 21.5, "running": True}, request_only=True)
BATCH_EXAMPLE = OpenApiExample(
    "Several devices, with an API key or a person's token",
    [
        {"device": "pump-7", "temperature": 21.5},
        {
            "device": "pump-8",
            "ts": 1763600000000,
            "values": {"temperature": {"value": 21.5, "quality": "uncertain", "unit": "°C"}},
        },
    ],
    request_only=True,
)
STORED_EXAMPLE = OpenApiExample(
    "Two stored, one refused",
    {
        "stored": 2,
        "duplicates": 0,
        "rejected": [{"index": 1, "reason": "wrong_type", "detail": "'temperature' is a number …", "metric": "temperature"}],
    },
    response_only=True,
)


class RawJsonParser(BaseParser):
    """Hands over the bytes, no more of them than a message may have and one: the gate does the reading."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read(settings.IIOT_MAX_MESSAGE_BYTES + 1)


class RawCborParser(RawJsonParser):
    """As above."""

    media_type = "application/cbor"


class RawSenmlJsonParser(RawJsonParser):
    """As above."""

    media_type = "application/senml+json"


class RawSenmlCborParser(RawJsonParser):
    """As above."""

    media_type = "application/senml+cbor"


class RawTextParser(RawJsonParser):
    """As above."""

    media_type = "text/plain"


class TelemetryView(HistoryView):
    """History by GET; new readings by POST, from devices, programs and people."""

    parser_classes = (RawJsonParser, RawCborParser, RawSenmlJsonParser, RawSenmlCborParser, RawTextParser)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Let devices in for POST only."""
        others = super().get_authenticators()
        return [DeviceTokenAuthentication(), *others] if self.request is None or self.request.method == "POST" else others

    @extend_schema(
        parameters=[OpenApiParameter("device", str, description="The device's key, for SenML and text from programs and people.")],
        request={
            "application/json": OpenApiTypes.OBJECT,
            "application/cbor": OpenApiTypes.BINARY,
            "application/senml+json": OpenApiTypes.OBJECT,
            "application/senml+cbor": OpenApiTypes.BINARY,
            "text/plain": OpenApiTypes.STR,
        },
        responses=StoredSerializer,
        examples=[FLAT_EXAMPLE, BATCH_EXAMPLE, STORED_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        """Store a message or a list of messages; the answer comes after they are committed.

        A message that is refused within a list does not stop the others; one that comes alone answers with its error.
        The content type names the format; `text/plain` is what the device's type says, or found out.
        """
        device = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        body: Any = request.data or b""  # without a body DRF gives an empty dict
        outcome = store_body(body, request=request, tenant=request.tenant.slug, device=device)  # type: ignore[attr-defined]  # as above
        answer = {
            "stored": outcome.stored,
            "duplicates": outcome.duplicates,
            "rejected": [{"index": r.index, "reason": r.reason, "detail": r.detail, "metric": r.metric} for r in outcome.refusals],
        }
        return Response(answer)  # as StoredSerializer has it, which would build eight fields for each request


def store_body(body: Any, *, request: Request, tenant: str, device: DeviceRef | None) -> BatchOutcome:
    """Send what came in one request through the pipeline, as its content type says; `device` is None for people and programs."""
    own_key = device.key if device else None
    codec = codec_of_content_type(request.content_type, default="json")
    if codec not in ENVELOPE_PARSERS:
        return store_frame(body, codec=codec, key=request.query_params.get("device", own_key or ""), tenant=tenant, only=own_key)
    try:
        document = ENVELOPE_PARSERS[codec](body, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)
        envelopes = read_envelopes(document, own_key=own_key)
    except MessageError as error:
        now = timezone.now()
        refused = reject_body(body, Refusal(0, error.code, error.detail), now=now, device_id=device.id if device else None)
        record_refused_messages(rejections=[refused], now=now)
        raise
    outcome = store_envelopes(envelopes, tenant=tenant, only=own_key)
    if isinstance(document, dict):
        raise_if_refused(outcome)
    return outcome


def store_frame(body: bytes, *, codec: str, key: str, tenant: str, only: str | None) -> BatchOutcome:
    """Send a frame that is one device's message through the pipeline; raises where it is refused as a whole."""
    now = timezone.now()
    envelope = Envelope(0, key, {}, "" if key else "Name the device by its key in the address: ?device=pump-7.")
    refusal = refuse_envelope(envelope, only=only)
    if refusal is not None:
        record_refused_messages(rejections=[reject_body(body, refusal, now=now)], now=now)
        raise MessageRefusedError(refusal.reason, refusal.detail)
    outcome = process_messages(
        messages=[RawMessage(tenant, key, body, now, "http", SOURCE, codec=codec)], now=now, hand_on=web_door.hand_on
    )
    raise_if_refused(outcome)
    return outcome


def store_envelopes(envelopes: Sequence[Envelope], *, tenant: str, only: str | None) -> BatchOutcome:
    """Send the messages of a request through the pipeline; `only` is the one device that the caller may write for."""
    now = timezone.now()
    refusals: list[Refusal] = []
    accepted: list[Envelope] = []
    rejections: list[NewRejection] = []
    for envelope in envelopes:
        refusal = refuse_envelope(envelope, only=only)
        if refusal is None:
            accepted.append(envelope)
        else:
            refusals.append(refusal)
            rejections.append(reject_body(msgspec.json.encode(envelope.content), refusal, now=now))
    messages = [RawMessage(tenant, e.device, msgspec.json.encode(e.content), now, "http", SOURCE, codec="json") for e in accepted]
    outcome = process_messages(messages=messages, now=now, hand_on=web_door.hand_on)
    record_refused_messages(rejections=rejections, now=now)
    refusals += [Refusal(accepted[r.index].index, r.reason, r.detail, r.metric) for r in outcome.refusals]
    return BatchOutcome(outcome.stored, outcome.duplicates, sorted(refusals, key=lambda refusal: refusal.index))


def refuse_envelope(envelope: Envelope, *, only: str | None) -> Refusal | None:
    """Refuse a message that names no device, or another than the caller's own."""
    if envelope.fault:
        return Refusal(envelope.index, "invalid_shape", envelope.fault)
    if only is not None and envelope.device != only:
        return Refusal(envelope.index, "unknown_device", f"There is no device {envelope.device[:64]!r}; check the name, or create it.")
    return None


def raise_if_refused(outcome: BatchOutcome) -> None:
    """Answer a message that came alone and of which nothing was stored with its error."""
    if outcome.refusals and not outcome.stored and not outcome.duplicates:
        errors = {refusal.metric: [refusal.detail] for refusal in outcome.refusals if refusal.metric is not None}
        raise MessageRefusedError(outcome.refusals[0].reason, outcome.refusals[0].detail, errors=errors)


def reject_body(body: bytes, refusal: Refusal, *, now: datetime, device_id: int | None = None) -> NewRejection:
    """Return what is to be kept of a message that could not be read, as the listeners keep such frames."""
    return NewRejection(now, "http", SOURCE, device_id, refusal.reason, refusal.detail, body)


class ListenerListView(ListAPIView[ListenerState]):
    """The listener processes. They serve all tenants, so nothing here tells how much each sends."""

    permission_resource = "device"
    serializer_class = ListenerSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[ListenerState]:
        is_alive = Q(heartbeat_at__gte=timezone.now() - ALIVE_WITHIN) & ~Q(state="stopped")
        processes = Window(Count("pk", filter=is_alive), partition_by="name")
        rows = ListenerState.objects.annotate(is_alive=ExpressionWrapper(is_alive, BooleanField()), processes=processes)
        return rows.order_by("name", "number")
