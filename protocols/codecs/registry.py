"""All codecs, by name, and which one a frame is in where nobody said."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import msgspec

from protocols.codecs.cbor import parse_cbor
from protocols.codecs.gate import parse_json, parse_text
from protocols.codecs.json import decode_telemetry, read_telemetry
from protocols.codecs.line import decode_line, looks_like_line
from protocols.codecs.plain import decode_plain, read_scalar
from protocols.codecs.senml import LABELS, decode_senml, is_senml, read_senml
from protocols.codecs.sparkplug import decode_sparkplug
from protocols.errors import CodecFailedError, MessageError, UnsupportedFormatError
from protocols.types import Sample

logger = logging.getLogger(__name__)

AUTO = "auto"
# "" leaves it to the device type: text may be a plain value or line protocol.
CODEC_BY_CONTENT_TYPE = {
    "application/json": "json",
    "application/cbor": "cbor",
    "application/senml+json": "senml",
    "application/senml+cbor": "senml",
    "text/plain": "",
}
# Codecs that refuse what is not theirs. The others would read a foreign frame as something else, and are told by their first byte.
_PICKY = ("senml", "line")
UNSUPPORTED = "unsupported"  # stands for a content type or format that no codec reads
# The same as numbers (RFC 7252 §12.3).
CODEC_BY_CONTENT_FORMAT = {0: "", 50: "json", 60: "cbor", 110: "senml", 112: "senml"}


@lru_cache(maxsize=256)
def codec_of_content_type(content_type: str, *, default: str = "") -> str:
    """Return the codec that a content type names, whatever its parameters; "" leaves it to the device's type."""
    return CODEC_BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower(), default)


class FrameContext(msgspec.Struct, frozen=True, gc=False):
    """What a codec may know beside the bytes: the sender's key, what its type says, and when the frame came."""

    max_bytes: int
    received_at: datetime
    device: str = ""
    sole_metric: str = "value"
    line_precision: str = "ns"


class DecodedFrame(msgspec.Struct, frozen=True, gc=False):
    """The samples of a frame, and the codec that read them."""

    codec: str
    samples: list[Sample]


def decode_frame(payload: bytes, *, codec: str, context: FrameContext, remembered: str = "") -> DecodedFrame:
    """Decode a frame with the named codec, or the one that `auto` finds.

    `remembered` is the one that `auto` found first for this sender: it is asked before the others.

    Raises:
        MessageError: a subclass that names what is wrong; nothing of the frame is usable then.
        KeyError: there is no codec of this name.
    """
    if codec == UNSUPPORTED:
        raise UnsupportedFormatError("The platform reads JSON, CBOR, SenML, line protocol and plain values.")
    decode = None if codec == AUTO else CODECS[codec]
    try:
        if decode is not None:
            return DecodedFrame(codec, decode(payload, context))
        return _recall(payload, remembered, context) if remembered in _PICKY else _detect(payload, context)
    except MessageError:
        raise
    except Exception as exc:  # every listener's loop: one frame must not hold up the batch that it came with, for ever
        logger.exception("the codec %s failed on a frame of %d bytes that begins with %s", codec, len(payload), payload[:64].hex())
        raise CodecFailedError(f"The platform could not read this message as {codec} ({type(exc).__name__}).") from exc


def _recall(payload: bytes, remembered: str, context: FrameContext) -> DecodedFrame:
    """Try the remembered codec, then whatever the frame looks like. Where none reads it, the remembered one says why."""
    try:
        return DecodedFrame(remembered, CODECS[remembered](payload, context))
    except MessageError as error:
        try:
            return _detect(payload, context)
        except MessageError:
            raise error from None


def _detect(payload: bytes, context: FrameContext) -> DecodedFrame:
    """Go by the first byte: no text in UTF-8 begins as a CBOR list or map does. Text that is nothing else has to be JSON."""
    first = payload[:1]
    if first == b"{":
        return DecodedFrame("json", _decode_json(payload, context))
    if b"\x80" <= first <= b"\xbf" or payload.startswith(b"\xd9\xd9\xf7"):
        return _detect_senml(parse_cbor(payload, max_bytes=context.max_bytes, labels=LABELS), payload, "cbor", context)
    if payload.lstrip(b" \t\r\n")[:1] in {b"{", b"["}:
        return _detect_senml(parse_json(payload, max_bytes=context.max_bytes), payload, "json", context)
    codec = _name_text(payload, context)
    return DecodedFrame(codec, CODECS[codec](payload, context))


def _name_text(payload: bytes, context: FrameContext) -> str:
    """Name the codec of text that begins like no JSON object or list."""
    try:
        text = parse_text(payload, max_bytes=context.max_bytes)
    except MessageError:
        return "json"
    if looks_like_line(text):
        return "line"
    return "json" if read_scalar(text.strip()) is None else "plain"


def _detect_senml(document: object, payload: bytes, otherwise: str, context: FrameContext) -> DecodedFrame:
    if is_senml(document):
        samples = read_senml(document, device=context.device, sole_metric=context.sole_metric, received_at=context.received_at)
        return DecodedFrame("senml", samples)
    # CBOR was read with SenML's integer labels, which telemetry does not have.
    return DecodedFrame(otherwise, _decode_cbor(payload, context) if otherwise == "cbor" else read_telemetry(document))


def _decode_json(payload: bytes, context: FrameContext) -> list[Sample]:
    return decode_telemetry(payload, max_bytes=context.max_bytes)


def _decode_cbor(payload: bytes, context: FrameContext) -> list[Sample]:
    return read_telemetry(parse_cbor(payload, max_bytes=context.max_bytes))


def _decode_senml(payload: bytes, context: FrameContext) -> list[Sample]:
    return decode_senml(
        payload, max_bytes=context.max_bytes, device=context.device, sole_metric=context.sole_metric, received_at=context.received_at
    )


def _decode_line(payload: bytes, context: FrameContext) -> list[Sample]:
    return decode_line(payload, max_bytes=context.max_bytes, device=context.device, precision=context.line_precision)


def _decode_plain(payload: bytes, context: FrameContext) -> list[Sample]:
    return decode_plain(payload, max_bytes=context.max_bytes, metric=context.sole_metric)


def _decode_sparkplug(payload: bytes, context: FrameContext) -> list[Sample]:
    return decode_sparkplug(payload, max_bytes=context.max_bytes)


CODECS: dict[str, Callable[[bytes, FrameContext], list[Sample]]] = {
    "json": _decode_json,
    "cbor": _decode_cbor,
    "senml": _decode_senml,
    "line": _decode_line,
    "plain": _decode_plain,
    "sparkplug": _decode_sparkplug,
}
