"""Finds whole PUBLISH packets in a stream of MQTT bytes. Pure. Source: MQTT 3.1.1 §2.2.3 and §3.3; MQTT 5 §2.2.2 and §3.3."""

import enum

import msgspec

PUBLISH = 0x30
_KIND, _QOS, _DUP, _RETAIN = 0xF0, 0x06, 0x08, 0x01


class Publish(msgspec.Struct, frozen=True, gc=False):
    """A PUBLISH of QoS 0 or 1 as it came; `packet_id` is 0 for QoS 0. Properties of MQTT 5 are left out."""

    topic: bytes
    payload: bytes
    packet_id: int
    is_repeated: bool
    is_retained: bool


class Front(enum.Enum):
    """What lies behind the packets that were taken."""

    NOTHING = "nothing, or a packet that is not whole yet"
    OTHER = "a whole packet of another kind"
    BROKEN = "what is no packet"


def take_publishes(data: bytes, start: int, *, has_properties: bool) -> tuple[list[Publish], int, Front, int]:
    """Return the PUBLISH packets that lie at `start` one behind the other, where they end, what is there, and its end.

    `has_properties` says that the stream is MQTT 5. A PUBLISH of QoS 2 counts as another kind.
    """
    found: list[Publish] = []
    total = len(data)
    while start + 2 <= total:
        flags = data[start]
        length = data[start + 1]
        body = start + 2
        if length & 0x80:
            length, body = read_varint(data, start + 1)
            if length < 0:
                return found, start, Front.BROKEN if body - start > 4 else Front.NOTHING, start
        end = body + length
        if end > total:
            break
        if flags & _KIND != PUBLISH or flags & _QOS > 2:
            return found, start, Front.OTHER, end
        publish = _read_publish(data, body, end, flags, has_properties=has_properties)
        if publish is None:
            return found, start, Front.BROKEN, start
        found.append(publish)
        start = end
    return found, start, Front.NOTHING, start


def _read_publish(data: bytes, body: int, end: int, flags: int, *, has_properties: bool) -> Publish | None:
    topic_end = body + 2 + (data[body] << 8 | data[body + 1]) if body + 2 <= end else end + 1
    at = topic_end
    packet_id = 0
    if flags & _QOS:
        if at + 2 > end:
            return None
        packet_id = data[at] << 8 | data[at + 1]
        at += 2
    if has_properties and at < end:
        length, at = read_varint(data, at)
        if length < 0:
            return None
        at += length
    if at > end:
        return None
    return Publish(data[body + 2 : topic_end], data[at:end], packet_id, flags & _DUP != 0, flags & _RETAIN != 0)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends; -1 and where the data ends where it is cut or longer than four bytes."""
    value = 0
    digits = data[at : at + 4]
    for place, byte in enumerate(digits):
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    return -1, at + len(digits)
