"""Finds whole messages in a stream of AMQP bytes: Basic.Deliver, content header, content bodies. Pure.

Source: AMQP 0-9-1 §2.3.5 (frames), §4.2.6 (content framing), amqp0-9-1.xml (basic.deliver).
"""

import msgspec

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
    total = len(data)
    while start + 7 < total:
        method = _read_frame(data, start, total)
        if method is None or data[method[0] : method[0] + 4] != _DELIVER or data[start] != _METHOD:
            break
        header = _read_frame(data, method[1], total)
        if header is None:
            break
        content = _read_content(data, header, total)
        if content is None:
            break
        found.append(_make_arrival(data, method[0], header, content[0]))
        start = content[1]
    return found, start


def is_delivery(data: bytes, start: int) -> bool | None:
    """Tell whether a message begins at `start`; None where too little of it is there to tell."""
    if start + 11 > len(data):
        return False if start < len(data) and data[start] != _METHOD else None
    return data[start] == _METHOD and data[start + 7 : start + 11] == _DELIVER


def _read_frame(data: bytes, start: int, total: int) -> tuple[int, int] | None:
    """Return where a frame's payload begins and where the next frame would; None while it is not whole."""
    if start + 7 > total:
        return None
    end = start + 8 + int.from_bytes(data[start + 3 : start + 7], "big")
    if end > total:
        return None
    if data[end - 1] != _FRAME_END:
        raise BrokenStreamError("a frame without its end")
    return start + 7, end


def _read_content(data: bytes, header: tuple[int, int], total: int) -> tuple[bytes, int] | None:
    """Return the body that belongs to a content header, from as many frames as it takes, and where they end."""
    at, start = header
    if data[at - 7] != _HEADER:
        raise BrokenStreamError("a message without its header")
    size = int.from_bytes(data[at + 4 : at + 12], "big")
    body = b""
    while len(body) < size:
        frame = _read_frame(data, start, total)
        if frame is None:
            return None
        if data[start] != _BODY:
            raise BrokenStreamError("a message without its body")
        at, start = frame
        body = body + data[at : start - 1] if body else data[at : start - 1]
    return body, start


def _make_arrival(data: bytes, at: int, header: tuple[int, int], body: bytes) -> Arrival:
    at += 5 + data[at + 4]  # behind the consumer's tag
    tag, flags = int.from_bytes(data[at : at + 8], "big"), data[at + 8]
    at += 10 + data[at + 9]  # behind the exchange's name
    return Arrival(tag, flags & 1 == 1, data[at + 1 : at + 1 + data[at]], data[header[0] + 12 : header[1] - 1], body)
