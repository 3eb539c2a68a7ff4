"""PUBLISH packets in a stream of bytes, however the network cuts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.mqtt.packets import Front, Publish, take_publishes

PINGRESP = b"\xd0\x00"
SUBACK = b"\x90\x03\x00\x01\x01"


def varint(number: int) -> bytes:
    digits = bytearray()
    while True:
        number, digit = divmod(number, 128)
        digits.append(digit | (128 if number else 0))
        if not number:
            return bytes(digits)


def encode(publish: Publish, *, properties: bytes | None = None) -> bytes:
    body = len(publish.topic).to_bytes(2, "big") + publish.topic
    body += publish.packet_id.to_bytes(2, "big") if publish.packet_id else b""
    body += varint(len(properties)) + properties if properties is not None else b""
    flags = 0x30 | (2 if publish.packet_id else 0) | (8 if publish.is_repeated else 0) | (1 if publish.is_retained else 0)
    body += publish.payload
    return bytes([flags]) + varint(len(body)) + body


publishes = st.builds(
    Publish,
    topic=st.binary(min_size=1, max_size=40),
    payload=st.binary(max_size=300),
    packet_id=st.integers(0, 65535),
    is_repeated=st.booleans(),
    is_retained=st.booleans(),
)


@given(sent=st.lists(publishes, max_size=8), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_all_packets_come_out_once_and_in_order_however_they_are_cut(sent: list[Publish], cuts: list[int]) -> None:
    stream = b"".join(encode(publish) for publish in sent)
    received: list[Publish] = []
    buffer, at, n = b"", 0, 0
    while at < len(stream):
        buffer += stream[at : at + cuts[n % len(cuts)]]
        at += cuts[n % len(cuts)]
        n += 1
        found, end, front, _ = take_publishes(buffer, 0, has_properties=False)
        assert front is Front.NOTHING
        received += found
        buffer = buffer[end:]
    assert received == sent
    assert buffer == b""


@given(sent=publishes, properties=st.binary(max_size=200))
def test_properties_of_mqtt_5_are_skipped(sent: Publish, properties: bytes) -> None:
    data = encode(sent, properties=properties)
    assert take_publishes(data, 0, has_properties=True) == ([sent], len(data), Front.NOTHING, len(data))


@pytest.mark.parametrize("other", [PINGRESP, SUBACK, b"\x34\x05\x00\x01a\x00\x01"])
def test_it_stops_before_a_packet_of_another_kind(other: bytes) -> None:
    first = Publish(b"t/acme/pump-7/telemetry", b"{}", 7, False, False)
    data = encode(first)
    stream = data + other + data
    assert take_publishes(stream, 0, has_properties=False) == ([first], len(data), Front.OTHER, len(data) + len(other))
    assert take_publishes(data + other[:-1], 0, has_properties=False)[2] is (Front.NOTHING if len(other) > 1 else Front.OTHER)


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\x02\x00\x05",  # the topic is longer than the packet
        b"\x32\x03\x00\x01a",  # no packet id
        b"\x32\x01\x00",  # half of the topic's length
        b"\x30\xff\xff\xff\xff\x01",  # a length of five digits
    ],
)
def test_what_is_no_packet_is_told(data: bytes) -> None:
    assert take_publishes(data, 0, has_properties=False)[2] is Front.BROKEN


@pytest.mark.parametrize("data", [b"\x32\x04\x00\x01a\x00\x01\x80", b"\x32\x06\x00\x01a\x00\x01\x05"])
def test_broken_properties_are_told(data: bytes) -> None:
    found, _, front, _ = take_publishes(data, 0, has_properties=True)
    assert not found
    assert front is Front.BROKEN


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for has_properties in (False, True):
        found, end, _, front_end = take_publishes(data, 0, has_properties=has_properties)
        assert 0 <= end <= front_end <= len(data) or not found
