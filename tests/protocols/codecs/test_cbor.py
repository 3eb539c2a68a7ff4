"""CBOR: the forms of telemetry JSON, and nothing that JSON could not say."""

from datetime import UTC, datetime

import cbor2
import pytest

from protocols.codecs.gate import MAX_DEPTH
from protocols.types import Sample
from tests.protocols.codecs.frames import AT, FRAMES, decode, verdict


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x80"


@pytest.mark.parametrize("codec", ["cbor", "auto"])
def test_it_reads_what_json_says(codec: str) -> None:
    assert decode((FRAMES / "pump.cbor").read_bytes(), codec) == [
        Sample("temperature", 21.5, AT),
        Sample("running", True, AT),
        Sample("state", "idle", AT),
    ]
    assert decode((FRAMES / "self_described.cbor").read_bytes(), codec) == [Sample("temperature", 21.5, None)]
    assert decode(cbor2.dumps([{"a": 1}, {"ts": AT, "values": {"a": 2}}]), codec) == [Sample("a", 1.0, None), Sample("a", 2.0, AT)]


def test_times_may_carry_their_tag() -> None:
    assert decode(cbor2.dumps({"ts": cbor2.CBORTag(1, 1763600000), "values": {"a": 1}}), "cbor") == [Sample("a", 1.0, AT)]
    assert decode(cbor2.dumps({"ts": datetime(2025, 11, 20, 0, 53, 20, 5000, tzinfo=UTC), "values": {"a": 1}}), "cbor") == [
        Sample("a", 1.0, AT.replace(microsecond=5000))
    ]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "malformed_cbor"),
        ("a16161", "malformed_cbor"),  # cut
        ("a161610100", "malformed_cbor"),  # a byte follows
        ("ff", "malformed_cbor"),
        ("9b7fffffffffffffff", "malformed_cbor"),  # a list of 2**63 - 1 items
        ("5b7fffffffffffffff", "malformed_cbor"),
        ("a2616101616102", "duplicate_key"),
        ("81a2616101616102", "duplicate_key"),
        ("a16161f97e00", "not_finite"),  # NaN
        ("a16161f97c00", "not_finite"),  # infinity
        ("a161616180", "not_utf8"),
        ("a16161617f", "ok"),
        ("a161616100", "forbidden_character"),  # NUL
        ("a16161c24101", "forbidden_tag"),  # bignum
        ("a16161d8236161", "forbidden_tag"),  # regexp
        ("d81c81d81d00", "forbidden_tag"),  # a list that contains itself
        ("a16161d9123401", "forbidden_tag"),
        ("a10102", "invalid_shape"),  # a key that is a number
        ("a1616141ff", "invalid_shape"),  # bytes
        ("a16161f7", "invalid_shape"),  # undefined
        ("a16161f820", "invalid_shape"),  # an unassigned simple value
        ("a181016161", "invalid_shape"),  # a list as key
        ("01", "invalid_shape"),
        ("a0", "invalid_shape"),
        ("a161611bffffffffffffffff", "ok"),
        ("a161613bffffffffffffffff", "ok"),
        ("a16161c1fb7e37e43c8800759c", "malformed_cbor"),  # a time tag around 1e300
    ],
)
def test_each_fault_has_the_error_it_has_in_json(frame: str, code: str) -> None:
    assert verdict(bytes.fromhex(frame), "cbor") == code


def test_it_nests_as_deep_as_json_may() -> None:
    assert verdict(nested(MAX_DEPTH), "cbor") == verdict(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "json") == "invalid_shape"
    assert verdict(nested(MAX_DEPTH + 1), "cbor") == "too_deep"
    assert verdict(nested(100_000), "cbor") == "too_deep"


def test_it_is_as_large_as_json_may_be() -> None:
    frame = cbor2.dumps({"note": "x" * 100})
    assert verdict(frame, "cbor", max_bytes=len(frame)) == "ok"
    assert verdict(frame, "cbor", max_bytes=len(frame) - 1) == "too_large"
