"""Reads a message's properties as far as the platform needs them, whatever a publisher put into them. Pure.

Source: AMQP 0-9-1 §4.2.6.1 (content header), amqp0-9-1.xml, class basic (order of the properties).
"""

import struct
from functools import lru_cache

import msgspec

# Flags from the highest bit down, in the order in which the values follow: s short string, t table, b octet.
_LAYOUT = (
    (1 << 15, "content_type", "s"),
    (1 << 14, "content_encoding", "s"),
    (1 << 13, "headers", "t"),
    (1 << 12, "delivery_mode", "b"),
    (1 << 11, "priority", "b"),
    (1 << 10, "correlation_id", "s"),
    (1 << 9, "reply_to", "s"),
    (1 << 8, "expiration", "s"),
    (1 << 7, "message_id", "s"),
)
_NEEDED = 1 << 15 | 1 << 13 | 1 << 10 | 1 << 7


class MessageProperties(msgspec.Struct, frozen=True):
    """What was set; `headers` stay bytes."""

    content_type: str = ""
    correlation_id: str = ""
    message_id: str = ""
    headers: bytes = b""


_REMEMBERED_BYTES = 64
_NONE = MessageProperties()


def read_properties(encoded: bytes) -> MessageProperties:
    """Read the property list of a content header frame; what cannot be read counts as not set."""
    return _read_remembered(encoded) if len(encoded) <= _REMEMBERED_BYTES else _read(encoded)


def _read(encoded: bytes) -> MessageProperties:
    flags = int.from_bytes(encoded[:2], "big")
    if not flags & _NEEDED:
        return _NONE
    try:
        found = _split(flags, encoded)
    except (struct.error, IndexError):
        return _NONE
    texts = {name: found[name].decode("utf-8", "replace") for name in ("content_type", "correlation_id", "message_id") if name in found}
    return MessageProperties(**texts, headers=found.get("headers", b""))


# A publisher sets the same few on every message.
_read_remembered = lru_cache(maxsize=1_000)(_read)


def _split(flags: int, encoded: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    offset = 2
    for flag, name, kind in _LAYOUT:
        if not flags & flag:
            continue
        if kind == "b":
            size = 1
        elif kind == "s":
            size, offset = encoded[offset], offset + 1
        else:
            size, offset = struct.unpack_from(">I", encoded, offset)[0], offset + 4
        found[name] = encoded[offset : offset + size]
        offset += size
    return found
