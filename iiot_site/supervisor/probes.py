"""Readiness probes: each speaks enough of the protocol to know that the server answers.

Sources: MQTT 3.1.1 §3.1-3.2 (CONNECT, CONNACK), RESP (PING), AMQP 0-9-1 §4.2.2 (protocol header), HTTP/1.1.
"""

import asyncio
import contextlib
from urllib.parse import SplitResult, unquote, urlsplit

_TIMEOUT_SECONDS = 2.0
_PORTS = {
    "postgres": 5432,
    "postgresql": 5432,
    "redis": 6379,
    "rediss": 6379,
    "mqtt": 1883,
    "mqtts": 8883,
    "amqp": 5672,
    "amqps": 5671,
}


async def _ask(host: str, port: int, question: bytes, *, size: int = 64) -> bytes:
    """Connect, send, return the first bytes of the answer; b"" where nobody answers."""
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(question)
            await writer.drain()
            return await reader.read(size)
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def is_listening(host: str, port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def is_redis_ready(host: str, port: int, *, username: str = "", password: str = "") -> bool:
    """Tell whether Redis answers PING (not while it still loads its data)."""
    words = [word for word in (username, password) if word]
    login = _resp("AUTH", *words) if words else b""
    answer = await _ask(host, port, login + _resp("PING"))
    return b"PONG" in answer or (b"+OK" in answer and b"-" not in answer)


def _resp(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def is_mqtt_ready(host: str, port: int, *, username: str = "", password: str = "") -> bool:
    """Tell whether the broker accepts this login."""
    flags = 0x02 | (0x80 if username else 0) | (0x40 if password else 0)
    body = _mqtt_text("MQTT") + bytes([4, flags, 0, 10]) + _mqtt_text("")
    body += _mqtt_text(username) if username else b""
    body += _mqtt_text(password) if password else b""
    answer = await _ask(host, port, bytes([0x10, *_mqtt_length(len(body))]) + body)
    return len(answer) >= 4 and answer[0] == 0x20 and answer[3] == 0


def _mqtt_text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _mqtt_length(length: int) -> bytes:
    digits = []
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits)


async def is_amqp_ready(host: str, port: int, *, username: str = "", password: str = "") -> bool:
    """Tell whether the broker begins an AMQP 0-9-1 connection (Connection.Start), and takes the login if there is one (Connection.Tune)."""
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"AMQP\x00\x00\x09\x01")
            if await _amqp_method(reader) != _AMQP_START:
                return False
            if not username:
                return True
            response = f"\0{username}\0{password}".encode()
            arguments = bytes(4) + b"\x05PLAIN" + len(response).to_bytes(4, "big") + response + b"\x05en_US"
            writer.write(b"\x01\0\0" + (4 + len(arguments)).to_bytes(4, "big") + _AMQP_START_OK + arguments + b"\xce")
            return await _amqp_method(reader) == _AMQP_TUNE
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


_AMQP_START, _AMQP_START_OK, _AMQP_TUNE = b"\0\x0a\0\x0a", b"\0\x0a\0\x0b", b"\0\x0a\0\x1e"


async def _amqp_method(reader: asyncio.StreamReader) -> bytes:
    """Read one frame; return class and method, b"" where it has none."""
    head = await reader.readexactly(7)
    if head[:1] != b"\x01":
        return b""
    rest = await reader.readexactly(min(int.from_bytes(head[3:], "big"), 65_536) + 1)
    return rest[:4]


async def is_http_live(host: str, port: int, *, path: str, host_header: str) -> bool:
    """Tell whether a web server answers without a fault of its own."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host_header}\r\nConnection: close\r\n\r\n"
    words = (await _ask(host, port, request.encode())).split()
    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1] < b"500"


async def is_url_reachable(url: str) -> bool:
    """Tell whether a server somebody else runs answers; logs in to Redis, MQTT and AMQP without TLS, else only connects."""
    parts = urlsplit(url)
    host, port = address_of(url)
    login = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    match parts.scheme:
        case "redis":
            return await is_redis_ready(host, port, **login)
        case "mqtt":
            return await is_mqtt_ready(host, port, **login)
        case "amqp":
            return await is_amqp_ready(host, port, **login)
        case _:
            return await is_listening(host, port)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a server's URL."""
    parts: SplitResult = urlsplit(url)
    return parts.hostname or "localhost", parts.port or _PORTS.get(parts.scheme, 0)
