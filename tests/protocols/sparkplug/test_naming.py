"""Names in place of aliases, and when a node is asked for its births."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codecs.registry import FrameContext, decode_frame
from protocols.errors import CodecFailedError, MessageError
from protocols.sparkplug.messages import Payload
from protocols.sparkplug.naming import NodeState, put_names, rebirth_command
from protocols.sparkplug.topics import parse_sparkplug_topic
from tests.protocols.codecs.frames import AT, NOW

MS = int(AT.timestamp() * 1000)
CONTEXT = FrameContext(max_bytes=256 * 1024, received_at=NOW, device="edge-1")


def frame(seq: int | None, *metrics: dict[str, Any], timestamp: int = MS) -> bytes:
    payload = Payload(timestamp=timestamp)
    if seq is not None:
        payload.seq = seq
    for fields in metrics:
        payload.metrics.add(**fields)
    return bytes(payload.SerializeToString())


def take(state: NodeState, kind: str, data: bytes, *, device: str = "", is_repeated: bool = False) -> tuple[dict[str, Any], bool]:
    address = parse_sparkplug_topic(f"spBv1.0/acme/{kind}/edge-1" + (f"/{device}" if device else ""))
    assert address is not None
    named = put_names(state, address, data, is_repeated=is_repeated, max_bytes=CONTEXT.max_bytes)
    samples = decode_frame(named.payload, codec="sparkplug", context=CONTEXT).samples
    return {sample.metric: sample.value for sample in samples}, named.asks_for_birth


BIRTH = frame(
    0,
    {"name": "bdSeq", "datatype": 8, "long_value": 0},
    {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": False},
    {"name": "Temperature", "alias": 1, "datatype": 9, "float_value": 21.5},
    {"name": "Running", "alias": 2, "datatype": 11, "boolean_value": True},
)


def test_a_birth_brings_values_and_names_the_aliases_of_data() -> None:
    state = NodeState()
    assert take(state, "NBIRTH", BIRTH) == ({"Temperature": 21.5, "Running": True}, False)
    assert take(state, "NDATA", frame(1, {"alias": 1, "datatype": 9, "float_value": 22.5})) == ({"Temperature": 22.5}, False)


def pack(body: bytes) -> bytes:
    """Return a payload that holds another one, as Tahu's libraries compress."""
    payload = Payload(uuid="SPBV1.0_COMPRESSED", body=body)
    payload.metrics.add(name="algorithm", datatype=12, string_value="GZIP")
    return bytes(payload.SerializeToString())


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_a_compressed_payload_counts_as_what_is_in_it(compress: Any) -> None:
    state = NodeState()
    assert take(state, "NBIRTH", pack(compress(BIRTH))) == ({"Temperature": 21.5, "Running": True}, False)
    data = frame(1, {"alias": 1, "datatype": 9, "float_value": 22.5})
    assert take(state, "NDATA", pack(compress(data))) == ({"Temperature": 22.5}, False)
    assert take(state, "NDATA", frame(3, {"alias": 1, "datatype": 9, "float_value": 23.5})) == ({"Temperature": 23.5}, True)  # 2 is missing


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        zlib.compress(BIRTH)[:-4],
        zlib.compress(bytes(CONTEXT.max_bytes + 1)),
        zlib.compress(pack(zlib.compress(BIRTH))),
    ],
)
def test_what_does_not_unpack_or_unpacks_to_too_much_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError) as refused:
        take(NodeState(), "NBIRTH", pack(body))
    assert refused.value.code == "malformed_sparkplug"


def test_aliases_count_over_a_node_and_its_devices() -> None:
    state = NodeState()
    take(state, "NBIRTH", BIRTH)
    take(state, "DBIRTH", frame(1, {"name": "Level", "alias": 3, "datatype": 10, "double_value": 0.5}), device="tank")
    assert take(state, "DDATA", frame(2, {"alias": 3, "datatype": 10, "double_value": 0.7}), device="tank") == ({"Level": 0.7}, False)


def test_an_alias_that_no_birth_named_is_refused_and_asked_for() -> None:
    state, data = NodeState(), frame(7, {"alias": 1, "float_value": 22.5})
    address = parse_sparkplug_topic("spBv1.0/acme/NDATA/edge-1")
    assert address is not None
    named = put_names(state, address, data, is_repeated=False, max_bytes=CONTEXT.max_bytes)
    assert named.asks_for_birth
    with pytest.raises(MessageError) as refused:
        decode_frame(named.payload, codec="sparkplug", context=CONTEXT)
    assert refused.value.code == "unknown_alias"


def test_a_gap_in_the_sequence_asks_for_a_birth_and_keeps_the_values() -> None:
    state = NodeState()
    take(state, "NBIRTH", BIRTH)
    assert take(state, "NDATA", frame(5, {"alias": 1, "float_value": 1.5})) == ({"Temperature": 1.5}, True)
    assert take(state, "NDATA", frame(6, {"alias": 1, "float_value": 2.5})) == ({"Temperature": 2.5}, False)


def test_the_sequence_starts_over_after_255_and_repetitions_do_not_count() -> None:
    state = NodeState(aliases={1: "Temperature"}, seq=254)
    data = frame(255, {"alias": 1, "float_value": 1.5})
    assert not take(state, "NDATA", data)[1]
    assert not take(state, "NDATA", data, is_repeated=True)[1]
    assert not take(state, "NDATA", frame(0, {"alias": 1, "float_value": 2.5}))[1]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ({"datatype": 3, "int_value": 2**32 - 5}, -5.0),
        ({"datatype": 4, "long_value": 2**64 - 7}, -7.0),
        ({"datatype": 8, "long_value": 2**63}, 2.0**63),
        ({"datatype": 12, "string_value": "idle"}, "idle"),
        ({"datatype": 9, "is_null": True}, None),
        ({"datatype": 17, "bytes_value": b"x"}, None),
    ],
)
def test_data_types_are_read_as_the_specification_has_them(metric: dict[str, Any], value: object) -> None:
    assert take(NodeState(), "NDATA", frame(0, {"name": "m", **metric}))[0] == {"m": value}


def test_quality_and_time_of_a_metric_are_kept() -> None:
    payload = Payload(timestamp=MS)
    metric = payload.metrics.add(name="m", timestamp=MS + 1000, datatype=10, double_value=1.5)
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=3, int_value=500)
    [sample] = decode_frame(payload.SerializeToString(), codec="sparkplug", context=CONTEXT).samples
    assert (sample.quality, sample.ts) == (1, AT.replace(second=AT.second + 1))


@pytest.mark.parametrize(("number", "code"), [(float("inf"), "not_finite"), (float("nan"), "not_finite")])
def test_numbers_have_to_be_finite(number: float, code: str) -> None:
    with pytest.raises(MessageError) as refused:
        take(NodeState(), "NDATA", frame(0, {"name": "m", "datatype": 10, "double_value": number}))
    assert refused.value.code == code


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    failure = None
    try:
        take(NodeState(), "NDATA", data)
    except MessageError as error:
        failure = error
    assert not isinstance(failure, CodecFailedError)


def test_a_rebirth_is_asked_for_by_its_name() -> None:
    payload = Payload()
    payload.ParseFromString(rebirth_command())
    assert [(metric.name, metric.boolean_value) for metric in payload.metrics] == [("Node Control/Rebirth", True)]


@pytest.mark.parametrize(
    "topic", ["spBv1.0/acme/NCMD/edge-1", "spBv1.0/STATE/host", "spBv1.0/acme/NDATA", "spBv1.0/acme/DDATA/edge-1", "t/a/b/telemetry"]
)
def test_other_topics_are_none_of_ours(topic: str) -> None:
    assert parse_sparkplug_topic(topic) is None


def test_a_name_that_is_no_utf_8_is_refused_by_the_codec_and_not_remembered() -> None:
    state = NodeState()
    with pytest.raises(MessageError) as refused:
        take(state, "NBIRTH", b"\x12\x06\x0a\x02\xff\xfe\x10\x01")
    assert refused.value.code == "malformed_sparkplug"
    assert state.aliases == {}


@pytest.mark.parametrize("name", ["x" * 65, "a\0b", ""])
def test_names_that_no_metric_can_have_are_not_remembered(name: str) -> None:
    state, address = NodeState(), parse_sparkplug_topic("spBv1.0/acme/NBIRTH/edge-1")
    assert address is not None
    put_names(state, address, frame(0, {"name": name, "alias": 1, "float_value": 1.0}), is_repeated=False, max_bytes=CONTEXT.max_bytes)
    assert state.aliases == {}


def test_births_of_ever_new_devices_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.sparkplug.naming.MAX_ALIASES", 3)
    state = NodeState()
    take(state, "NBIRTH", BIRTH)
    for n in range(5):
        birth = frame(n + 1, {"name": f"Level{n}", "alias": 10 + n, "datatype": 10, "double_value": 0.5})
        take(state, "DBIRTH", birth, device=f"tank{n}")
    assert list(state.aliases) == [1, 2, 10]


def test_few_bytes_of_aliases_cannot_become_many_bytes_of_names() -> None:
    state = NodeState()
    with pytest.raises(MessageError) as refused:
        take(state, "NDATA", frame(0, *[{"alias": 1}] * 10_001))
    assert refused.value.code == "too_many_values"
    address = parse_sparkplug_topic("spBv1.0/acme/NBIRTH/edge-1")
    assert address is not None
    large = frame(0, {"name": "Temperature", "alias": 1, "string_value": "x" * CONTEXT.max_bytes})
    assert put_names(state, address, large, is_repeated=False, max_bytes=CONTEXT.max_bytes).payload is large
    assert state.aliases == {}
