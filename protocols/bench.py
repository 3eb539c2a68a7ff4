"""The codec bench: decode a pasted frame as the pipeline would, and store nothing."""

import base64
import binascii
from datetime import datetime

from django.conf import settings

from protocols.codecs.registry import DecodedFrame, FrameContext, decode_frame
from protocols.errors import InvalidShapeError

ENCODINGS = {"text": "Text", "base64": "Base64", "hex": "Hexadecimal"}


def decode_pasted(*, payload: str, encoding: str, codec: str, device: str, line_precision: str, now: datetime) -> DecodedFrame:
    """Decode what a person pasted.

    Raises:
        MessageError: a subclass that names what is wrong with the frame, or with its encoding.
    """
    context = FrameContext(settings.IIOT_MAX_MESSAGE_BYTES, now, device, line_precision=line_precision)
    return decode_frame(_to_bytes(payload, encoding), codec=codec, context=context)


def _to_bytes(payload: str, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode("".join(payload.split()), validate=True)
        if encoding == "hex":
            return bytes.fromhex(payload)
        return payload.encode()
    except (ValueError, binascii.Error) as exc:
        raise InvalidShapeError(f"The frame is not {ENCODINGS[encoding]}; paste it whole, or choose how it is written.") from exc
