"""Reads a message's properties as far as the platform needs them, whatever a publisher put into its headers. Pure.

pika decodes every header before the message is handed over, and some that RabbitMQ passes on make it raise (a time beyond
the year 9999, deep nesting): the connection would break at that message again and again. Here headers stay bytes.
Source: AMQP 0-9-1 §4.2.6.1 (content header), amqp0-9-1.xml, class basic (order of the properties).
"""

import struct
from dataclasses import dataclass

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


@dataclass(slots=True)
class MessageProperties:
    """What pika fills instead of its own class, once registered."""

    content_type: str = ""
    correlation_id: str = ""
    message_id: str = ""
    headers: bytes = b""

    def decode(self, encoded: bytes) -> "MessageProperties":
        """Read the property list of a content header frame; what cannot be read counts as not set."""
        flags = int.from_bytes(encoded[:2], "big")
        if flags & _NEEDED:
            try:
                self._read(flags, encoded)
            except (struct.error, IndexError):
                self.content_type = self.correlation_id = self.message_id = ""
        return self

    def _read(self, flags: int, encoded: bytes) -> None:
        offset = 2
        for flag, name, kind in _LAYOUT:
            if not flags & flag:
                continue
            if kind == "b":
                offset += 1
                continue
            if kind == "s":
                size, offset = encoded[offset], offset + 1
            else:
                size, offset = struct.unpack_from(">I", encoded, offset)[0], offset + 4
            value = encoded[offset : offset + size]
            offset += size
            if name == "headers":
                self.headers = value
            elif name in {"content_type", "correlation_id", "message_id"}:
                setattr(self, name, value.decode("utf-8", "replace"))
