"""Random, malformed and hostile payloads, the same for every protocol: each must end in the ledger, and none in a crash.

A seed gives the same payloads again, so that a failure can be repeated. A third are made for a weakness, a third are real
frames with something broken, a third are noise.
"""

import random
from collections.abc import Sequence
from pathlib import Path

FRAMES = Path(__file__).resolve().parents[1] / "fixtures" / "codecs"
MAX_BYTES = 300_000  # beyond IIOT_MAX_MESSAGE_BYTES

CRAFTED: Sequence[bytes] = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"null",
    b"{}",
    b"[]",
    b"[[]]",
    b"{" * 20_000,
    b"[" * 50_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"temperature": NaN}',
    b'{"temperature": -Infinity}',
    b'{"temperature": 1e400}',
    b'{"temperature": 1e308}',
    b'{"temperature": ' + b"9" * 5_000 + b"}",
    b'{"temperature": "\\u0000"}',
    b'{"temperature": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"temperature\\u0000": 1}',
    b'{"": 1}',
    b'{"temperature": 1, "temperature": 2}',
    b'{"temperature": {"temperature": {"temperature": 1}}}',
    b'{"temperature": {"value": null, "quality": []}}',
    b'{"ts": 99999999999999999999, "values": {"temperature": 1}}',
    b'{"ts": -1, "values": {"temperature": 1}}',
    b'{"ts": "2026-13-45T99:99:99Z", "values": {"temperature": 1}}',
    b'{"ts": true, "values": []}',
    b"{'temperature': 1}",
    b'{"temperature": 1',
    b'{"temperature": 1}}',
    b'{"temperature": "' + b"x" * 2_000 + b'"}',
    b'{"temperature": "' + b"x" * MAX_BYTES + b'"}',
    b'{"x' + b"y" * 500 + b'": 1}',
    b"[" + b'{"temperature": 1},' * 11_000 + b'{"temperature": 1}]',
    b'{"__proto__": {"a": 1}, "constructor": 1}',
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    b"'; DROP TABLE telemetry_reading; --",
    b"\x9f" * 10_000,  # CBOR: indefinite lists, never closed
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # a list of 2^64 items
    b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",  # a string of 2^64 bytes
    b"\xbf\xff",
    b"\xa1\x61a\xf9\x7e\x00",  # NaN
    b"\xa1\x61a\xc2\x58\xff" + b"\xff" * 255,  # a bignum
    b"\x12\x06\x0a\x02\xff\xfe\x10\x01",  # Sparkplug: a name that is no UTF-8
    b"\x12\x05\x0a\x01\0\x10\x01",  # Sparkplug: a name of NUL
    b"\x12\x02\x10\x01" * 11_000,  # Sparkplug: nothing but aliases
    b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that contains itself
    b"\xc0" * 5_000,
    b"\xa1\x61a\xd9\x01\x04\x01",
    b"\xa2\x61a\x01\x61a\x02",
    b'[{"bn": "other:", "n": "t", "v": 1}]',
    b'[{"n": "t", "v": 1, "vs": "2"}]',
    b'[{"bver": 99, "n": "t", "v": 1}]',
    b'[{"bt": 1e300, "n": "t", "v": 1}]',
    b"temperature value=1 99999999999999999999999",
    b"temperature value=",
    b"temperature,device=other value=1",
    b"t v=1i\nt v=1i\n" * 8_000,
    b't,a=b,a=c v="\\\\',
)


def hostile_payloads(count: int, *, seed: int) -> list[bytes]:
    """Return that many payloads."""
    chance = random.Random(seed)
    frames = [path.read_bytes() for path in sorted(FRAMES.iterdir()) if path.is_file()]
    frames += [b'{"temperature": 21.5, "running": true}', b'{"ts": 1763600000000, "values": {"temperature": 21.5}}', b"21.5"]
    crafted = list(CRAFTED)
    chance.shuffle(crafted)
    payloads = crafted[: count // 3]
    while len(payloads) < 2 * count // 3:
        payloads.append(_break(chance.choice(frames), chance))
    while len(payloads) < count:
        payloads.append(chance.randbytes(chance.choice((1, 7, 64, 500, 4_000))))
    chance.shuffle(payloads)
    return payloads


def _break(frame: bytes, chance: random.Random) -> bytes:
    """Cut, repeat, flip or fill in something at a random place."""
    at, to = sorted(chance.randrange(len(frame) + 1) for _ in range(2))
    broken = bytearray(frame)
    match chance.randrange(5):
        case 0:
            return frame[:at]
        case 1:
            return frame[:to] + frame[at:]
        case 2:
            broken[at:to] = chance.randbytes(to - at)
        case 3:
            broken[at:at] = chance.choice((b"\0", b"\xff", b'"', b"}", b"\\", b"\xf9", b"1e999", b"\xf0\x9f"))
        case _:
            for _ in range(chance.randrange(1, 5)):
                broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)
