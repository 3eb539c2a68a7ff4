"""Reads the first packet of an MQTT connection, and puts another login into it. Pure. Source: MQTT 3.1.1 and 5, §3.1, §3.2."""

from dataclasses import dataclass

from protocols.mqtt.packets import read_varint

CONNECT, CONNACK = 0x10, 0x20
_HAS_WILL, _HAS_PASSWORD, _HAS_USERNAME = 0x04, 0x40, 0x80
_BRIDGE = 0x80  # mosquitto's bridges mark the version with it
_VERSIONS = (3, 4, 5)
_V5 = 5
_NOT_AUTHORIZED = (5, 0x87)  # up to 3.1.1, and in 5
_SERVER_UNAVAILABLE = (3, 0x88)


class MalformedConnectError(ValueError):
    """What came first is no CONNECT packet."""


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT packet in parts: up to the flags, the flags, all from behind them to the user name, which may be missing."""

    start: bytes
    flags: int
    middle: bytes
    version: int
    username: str = ""


def read_connect(body: bytes) -> Connect:
    """Take a CONNECT packet apart; `body` is what follows its fixed header.

    Raises:
        MalformedConnectError: it is none.
    """
    name_end = _skip_field(body, 0)
    if name_end + 4 > len(body):
        raise MalformedConnectError("the packet ends within its header")
    version, flags = body[name_end] & ~_BRIDGE, body[name_end + 1]
    if version not in _VERSIONS:
        raise MalformedConnectError(f"version {version} is not spoken here")
    at = _skip_properties(body, name_end + 4, version)
    at = _skip_field(body, at)  # the client's id
    if flags & _HAS_WILL:
        at = _skip_properties(body, at, version)
        at = _skip_field(body, _skip_field(body, at))
    end = at
    for has_field in (flags & _HAS_USERNAME, flags & _HAS_PASSWORD):
        end = _skip_field(body, end) if has_field else end
    if end != len(body):
        raise MalformedConnectError("bytes follow the packet's last field")
    username = body[at + 2 : _skip_field(body, at)].decode("utf-8", "replace") if flags & _HAS_USERNAME else ""
    return Connect(body[: name_end + 1], flags, body[name_end + 2 : at], version, username)


def write_connect(connect: Connect, *, username: str, password: str) -> bytes:
    """Return the packet with this login in place of the one that it had, if any."""
    flags = bytes([connect.flags | _HAS_USERNAME | _HAS_PASSWORD])
    body = connect.start + flags + connect.middle + _field(username) + _field(password)
    return bytes([CONNECT]) + _varint(len(body)) + body


def refuse(connect: Connect, *, is_known: bool) -> bytes:
    """Return the CONNACK for somebody who may not come in, or (`is_known`) of whom that cannot be said at the moment."""
    old, new = _SERVER_UNAVAILABLE if is_known else _NOT_AUTHORIZED
    return bytes([CONNACK, 3, 0, new, 0]) if connect.version == _V5 else bytes([CONNACK, 2, 0, old])


def is_welcome(packet: bytes) -> bool:
    """Tell whether this is the CONNACK for somebody who has come in."""
    _, start = read_varint(packet, 1)
    return packet[0] == CONNACK and packet[start + 1 : start + 2] == b"\0"


def _skip_field(body: bytes, at: int) -> int:
    """Return where a field ends that begins with its length in two bytes."""
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    if at + 2 > len(body) or end > len(body):
        raise MalformedConnectError("a field ends behind the packet")
    return end


def _skip_properties(body: bytes, at: int, version: int) -> int:
    if version != _V5:
        return at
    length, start = read_varint(body, at)
    if length < 0 or start + length > len(body):
        raise MalformedConnectError("the properties end behind the packet")
    return start + length


def _field(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _varint(number: int) -> bytes:
    digits = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        digits.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(digits)
