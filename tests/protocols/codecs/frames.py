"""What tests of codecs share: a context, and the verdict on a frame."""

from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from protocols.codecs.registry import FrameContext, decode_frame
from protocols.errors import CodecFailedError, MessageError
from protocols.types import Sample

FRAMES = Path(__file__).parents[2] / "fixtures" / "codecs"
AT = datetime(2025, 11, 20, 0, 53, 20, tzinfo=UTC)
NOW = datetime(2025, 11, 20, 1, tzinfo=UTC)
CONTEXT = FrameContext(max_bytes=256 * 1024, received_at=NOW, device="pump-7", sole_metric="temperature")


def decode(payload: bytes | str, codec: str = "auto", **changes: object) -> list[Sample]:
    """Decode a frame of pump-7."""
    raw = payload.encode() if isinstance(payload, str) else payload
    return decode_frame(raw, codec=codec, context=replace(CONTEXT, **changes)).samples


def verdict(payload: bytes | str, codec: str = "auto", **changes: object) -> str:
    """Return the code of the error that a frame makes; "ok" where it makes none."""
    try:
        decode(payload, codec, **changes)
    except MessageError as caught:
        error = caught
    else:
        return "ok"
    assert error.detail
    assert error.code not in {MessageError.code, CodecFailedError.code}
    return error.code
