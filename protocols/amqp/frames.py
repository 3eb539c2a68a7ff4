"""Finds whole messages in a stream of AMQP bytes: Basic.Deliver, content header, content bodies. Pure.

Source: AMQP 0-9-1 §2.3.5 (frames), §4.2.6 (content framing), amqp0-9-1.xml (basic.deliver).
"""

import struct

import msgspec

_HEAD = struct.Struct(">BHI")  # kind, channel, size
_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_END = 0xCE
_DELIVER = b"\x00\x3c\x00\x3c"


class BrokenStreamError(ValueError):
    """Bytes that are no AMQP; nothing behind them can be read."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A message as it came; `properties` are the bytes behind the body's size (see `read_properties`)."""

    tag: int
    is_redelivered: bool
    key: bytes
    properties: bytes
    body: bytes


def take_arrivals(data: bytes, start: int) -> tuple[list[Arrival], int]:
    """Return the messages that lie whole at `start`, one behind the other, and where they end.

    Raises:
        BrokenStreamError: what lies there is no AMQP.
    """
    found: list[Arrival] = []
    while (read := _read_arrival(data, start)) is not None:
        arrival, start = read
        found.append(arrival)
    return found, start


def is_delivery(data: bytes, start: int) -> bool | None:
    """Tell whether a message begins at `start`; None where too little of it is there to tell."""
    if start + 11 > len(data):
        return False if start < len(data) and data[start] != _METHOD else None
    return data[start] == _METHOD and data[start + 7 : start + 11] == _DELIVER


def _read_arrival(data: bytes, start: int) -> tuple[Arrival, int] | None:
    if not is_delivery(data, start):
        return None
    frame = _read_frame(data, start, _METHOD)
    if frame is None:
        return None
    at, end = frame
    at += 5 + data[at + 4]  # behind the consumer's tag
    tag, is_redelivered = int.from_bytes(data[at : at + 8], "big"), data[at + 8] & 1 == 1
    at += 10 + data[at + 9]  # behind the exchange's name
    key = data[at + 1 : at + 1 + data[at]]
    frame = _read_frame(data, end, _HEADER)
    if frame is None:
        return None
    at, end = frame
    properties = data[at + 12 : end - 1]
    content = _read_content(data, end, int.from_bytes(data[at + 4 : at + 12], "big"))
    if content is None:
        return None
    return Arrival(tag, is_redelivered, key, properties, content[0]), content[1]


def _read_frame(data: bytes, start: int, kind: int) -> tuple[int, int] | None:
    """Return where a frame's payload begins and where the next frame would; None while it is not whole."""
    if start + 7 > len(data):
        return None
    found, _, size = _HEAD.unpack_from(data, start)
    end = start + 8 + size
    if end > len(data):
        return None
    if found != kind or data[end - 1] != _FRAME_END:
        raise BrokenStreamError(f"a frame of kind {found} where {kind} was due, or without its end")
    return start + 7, end


def _read_content(data: bytes, start: int, size: int) -> tuple[bytes, int] | None:
    """Return a body from as many frames as it takes, and where they end."""
    pieces: list[bytes] = []
    while size > 0:
        frame = _read_frame(data, start, _BODY)
        if frame is None:
            return None
        at, start = frame
        pieces.append(data[at : start - 1])
        size -= len(pieces[-1])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), start
