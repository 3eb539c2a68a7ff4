"""All codecs together: plain values, detection, and one verdict on the same data."""

import json
from datetime import timedelta

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.models import Codec, DeviceType
from protocols.codecs.line import NS_PER_UNIT
from protocols.codecs.registry import AUTO, CODECS, decode_frame
from protocols.errors import CodecFailedError, MessageError
from protocols.types import Sample
from tests.protocols.codecs.frames import AT, CONTEXT, decode, verdict

NAMES = [AUTO, *CODECS]
keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}", fullmatch=True).filter(lambda key: key not in {"ts", "values"})
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=20)
values = st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | texts


def test_the_device_type_offers_every_codec_and_precision() -> None:
    assert Codec.values == NAMES
    assert set(DeviceType.LinePrecision.values) == set(NS_PER_UNIT)


@pytest.mark.parametrize(
    ("frame", "value"), [("21.5", 21.5), (" -3\n", -3.0), (".5", 0.5), ("1e3", 1000.0), ("true", True), ("FALSE", False)]
)
@pytest.mark.parametrize("codec", ["plain", "auto"])
def test_a_plain_value_is_the_types_only_metric(codec: str, frame: str, value: float | bool) -> None:
    assert decode(frame, codec) == [Sample("temperature", value, None)]


def test_plain_text_is_a_value_only_where_the_type_says_so() -> None:
    assert decode("idle", "plain") == [Sample("temperature", "idle", None)]
    assert verdict("idle") == "malformed_json"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "invalid_shape"),
        (b" ", "invalid_shape"),
        (b"nan", "not_finite"),
        (b"-Infinity", "not_finite"),
        (b"1e999", "not_finite"),
        (b"a\0", "forbidden_character"),
        (b"\xff", "not_utf8"),
        (b"\xef\xbb\xbf1", "not_utf8"),
        (b"x" * 300_000, "too_large"),
    ],
)
def test_a_plain_value_passes_the_same_gate(frame: bytes, code: str) -> None:
    assert verdict(frame, "plain") == code


@pytest.mark.parametrize(
    ("frame", "codec"),
    [
        (b'{"a": 1}', "json"),
        (b' [{"a": 1}]', "json"),
        (b'[{"n": "a", "v": 1}]', "senml"),
        (cbor2.dumps({"a": 1}), "cbor"),
        (cbor2.dumps([{"a": 1}]), "cbor"),
        (cbor2.dumps([{0: "a", 2: 1}]), "senml"),
        (b"pump-7 a=1", "line"),
        (b'pump-7,x=y a="b c" 1763600000000000000', "line"),
        (b"21.5", "plain"),
        ("Zähler a=1".encode(), "line"),
    ],
)
def test_the_codec_is_found_from_the_bytes(frame: bytes, codec: str) -> None:
    assert decode_frame(frame, codec=AUTO, context=CONTEXT).codec == codec


@pytest.mark.parametrize("remembered", ["", *NAMES])
@pytest.mark.parametrize(
    ("frame", "codec"),
    [
        (b'{"a": 1}', "json"),
        (b'[{"n": "a", "v": 1}]', "senml"),
        (cbor2.dumps([{0: "a", 2: 1}]), "senml"),
        (cbor2.dumps({"a": 1}), "cbor"),
        (b"pump-7 a=1", "line"),
        (b"21.5", "plain"),
    ],
)
def test_a_remembered_codec_never_reads_what_is_anothers(frame: bytes, codec: str, remembered: str) -> None:
    assert decode_frame(frame, codec=AUTO, context=CONTEXT, remembered=remembered) == decode_frame(frame, codec=codec, context=CONTEXT)


def test_where_nothing_reads_a_frame_the_remembered_codec_says_why() -> None:
    with pytest.raises(MessageError) as told:
        decode_frame(b"pump-7 a=", codec=AUTO, context=CONTEXT, remembered="line")
    with pytest.raises(MessageError) as expected:
        decode_frame(b"pump-7 a=", codec="line", context=CONTEXT)
    assert told.value.detail == expected.value.detail
    with pytest.raises(MessageError, match="The pack holds no value"):  # SenML's words; by its bytes it would be JSON
        decode_frame(b"[]", codec=AUTO, context=CONTEXT, remembered="senml")


@pytest.mark.parametrize("frame", [b"", b"hello", b"\xff\xfe", b"a\0", b"{", b"[", b"\x81", b"\xa1\x01\x02", b"nan", b"a = b"])
def test_what_is_in_no_format_is_refused(frame: bytes) -> None:
    assert verdict(frame) != "ok"


@pytest.mark.parametrize("codec", NAMES)
@given(payload=st.binary(max_size=200))
def test_no_bytes_make_anything_but_a_typed_error(codec: str, payload: bytes) -> None:
    verdict(payload, codec)


@pytest.mark.parametrize("codec", NAMES)
@given(text=st.text(alphabet='{}[]":,\\=# \n\r\0ntviu_bs0189.-+eEaä', max_size=60))
def test_no_text_makes_anything_but_a_typed_error(codec: str, text: str) -> None:
    verdict(text, codec)


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.binary(max_size=4) | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["n", "bn", "v", "vs", "vb", "t", "bt", "s", "u", "ts", "values", "value"]), inner, max_size=5)
        | st.dictionaries(st.integers(-7, 9), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(documents)
def test_no_cbor_makes_anything_but_a_typed_error(document: object) -> None:
    payload = cbor2.dumps(document, timezone=AT.tzinfo, value_sharing=True)
    for codec in NAMES:
        verdict(payload, codec)


def senml_record(key: str, value: bool | float | str) -> dict[str, object]:
    field = "vb" if isinstance(value, bool) else "vs" if isinstance(value, str) else "v"
    return {"n": key, field: value}


def line_value(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)


@given(st.dictionaries(keys, values, min_size=1, max_size=5), st.none() | st.integers(2**28, 4_000_000_000))
def test_equal_data_gives_equal_samples_in_every_format(reported: dict[str, bool | float | str], seconds: int | None) -> None:
    message: dict[str, object] = dict(reported)
    if seconds is not None:
        message = {"ts": seconds * 1000, "values": reported}
    pack = [{**senml_record(key, value), **({} if seconds is None else {"t": seconds})} for key, value in reported.items()]
    fields = ",".join(f"{key}={line_value(value)}" for key, value in reported.items())
    line = f"pump-7 {fields}" + ("" if seconds is None else f" {seconds * 10**9}")
    ts = None if seconds is None else AT + timedelta(seconds=seconds - 1763600000)
    expected = [Sample(key, float(value) if type(value) is int else value, ts) for key, value in reported.items()]
    assert decode(json.dumps(message), "json") == expected
    assert decode(cbor2.dumps(message), "cbor") == expected
    assert decode(json.dumps(pack), "senml") == expected
    assert decode(cbor2.dumps(pack), "senml") == expected
    assert decode(line, "line") == expected


def test_no_format_holds_more_values_than_another() -> None:
    frames: dict[str, bytes | str] = {
        "json": json.dumps([{"a": 1}] * 10_001),
        "cbor": cbor2.dumps([{"a": 1}] * 10_001),
        "senml": cbor2.dumps([{0: "a", 2: 1}] * 10_001),
        "line": "pump-7 a=1\n" * 10_001,
    }
    assert {verdict(frame, codec) for codec, frame in frames.items()} == {"too_many_values"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a\0b"])
def test_bad_data_gets_the_same_verdict_in_every_format(value: float | str) -> None:
    frames: dict[str, bytes | str] = {
        "json": json.dumps({"a": value}),
        "cbor": cbor2.dumps({"a": value}),
        "senml": json.dumps([senml_record("a", value)]),
        "line": f"pump-7 a={line_value(value)}",
        "plain": str(value),
    }
    assert len({verdict(frame, codec) for codec, frame in frames.items()}) == 1


def test_a_codec_that_fails_refuses_one_message_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "plain", lambda _payload, _context: 1 // 0)
    with pytest.raises(CodecFailedError) as refused:
        decode_frame(b"21.5", codec="plain", context=CONTEXT)
    assert refused.value.code == "internal_error"
