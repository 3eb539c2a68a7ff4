"""The parts without a broker: addresses, keys, properties, the plan of acknowledgements."""

import struct
from datetime import UTC, datetime

import pika
import pytest

from protocols.amqp.acknowledging import Settlement, plan_settlement
from protocols.amqp.frames import BrokenStreamError, is_delivery, take_arrivals
from protocols.amqp.names import parse_key, was_smuggled
from protocols.amqp.properties import MessageProperties, read_properties
from protocols.broker_address import BrokerAddress, parse_amqp_url
from protocols.types import Delivery, RawMessage


def test_addresses_are_read_with_their_escapes() -> None:
    assert parse_amqp_url("amqp://iiot:p%40ss@[::1]:5673/%2F") == BrokerAddress("::1", 5673, "iiot", "p@ss", False, "/")
    assert parse_amqp_url("amqps://a@b/plant") == BrokerAddress("b", 5671, "a", "guest", True, "plant")
    for url in ("", "mqtt://b", "amqp://"):
        with pytest.raises(ValueError, match="AMQP_URL"):
            parse_amqp_url(url)


@pytest.mark.parametrize(
    ("key", "sender"),
    [
        ("acme.pump-7.telemetry", ("acme", "pump-7")),
        ("acme.pump-7.commands.response", ("acme", "pump-7")),
        ("acme.pump-7.x.response", ("", "")),
        ("..telemetry", ("", "")),
        ("acme.pump-7.commands", ("", "")),
        ("acme.pump.7.telemetry", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_key_names_the_sender(key: str, sender: tuple[str, str]) -> None:
    found = parse_key(key.encode())
    assert (found.tenant, found.device, found.key) == (*sender, key)
    assert found.channel == ("response" if key == "acme.pump-7.commands.response" else "")


def test_properties_are_read_wherever_they_stand() -> None:
    sent = pika.BasicProperties(
        content_type="application/cbor",
        content_encoding="identity",
        headers={"x-death": [{"queue": "iiot.commands.acme.pump-7"}], "n": 1},
        delivery_mode=2,
        priority=3,
        correlation_id="42",
        reply_to="q",
        expiration="60000",
        message_id="m-1",
        timestamp=1,
        type="t",
        app_id="a",
    )
    read = read_properties(b"".join(sent.encode()))
    assert (read.content_type, read.correlation_id, read.message_id) == ("application/cbor", "42", "m-1")
    assert was_smuggled(read.headers)
    assert not was_smuggled(read_properties(b"".join(pika.BasicProperties(headers={"x": 1}).encode())).headers)
    assert read_properties(b"\0\0") == MessageProperties()
    assert read_properties(b"".join(pika.BasicProperties(delivery_mode=2).encode())) == MessageProperties()


@pytest.mark.parametrize("encoded", [b"", b"\x80", b"\x80\x00", b"\x20\x00\xff", b"\x80\x80\x05ab", b"\x80\x00\x02\xff\xfe"])
def test_properties_that_cannot_be_read_are_not_there(encoded: bytes) -> None:
    assert read_properties(encoded).message_id == ""


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def arrival(tag: int, body: bytes, *, key: bytes = b"acme.pump-7.telemetry", piece: int = 4) -> bytes:
    """Return a message as a broker with frames of at most `piece` bytes of content would send it."""
    deliver = b"\0\x3c\0\x3c" + b"\3ctg" + tag.to_bytes(8, "big") + b"\1" + b"\x0eiiot.telemetry" + bytes([len(key)]) + key
    content = b"".join(frame(3, body[at : at + piece]) for at in range(0, len(body), piece))
    return frame(1, deliver) + frame(2, struct.pack(">HHQ", 60, 0, len(body)) + b"\x80\0\4text") + content


HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
OTHER_METHOD = frame(1, b"\0\x3c\0\x0b")  # Basic.QosOk


def test_whole_messages_are_taken_from_a_stream() -> None:
    stream = arrival(1, b"") + arrival(2, b"four") + arrival(3, b"ten bytes!")
    found, end = take_arrivals(b"xx" + stream + OTHER_METHOD, 2)
    assert [(a.tag, a.body, a.is_redelivered, a.key) for a in found] == [
        (1, b"", True, b"acme.pump-7.telemetry"),
        (2, b"four", True, b"acme.pump-7.telemetry"),
        (3, b"ten bytes!", True, b"acme.pump-7.telemetry"),
    ]
    assert end == 2 + len(stream)
    assert read_properties(found[0].properties).content_type == "text"


def test_what_is_not_whole_yet_is_left() -> None:
    stream = arrival(1, b"ten bytes!")
    for length in range(len(stream)):
        assert take_arrivals(stream[:length], 0) == ([], 0)
        assert is_delivery(stream[:length], 0) is (None if length < 11 else True)


@pytest.mark.parametrize("other", [HEARTBEAT, OTHER_METHOD])
def test_other_frames_are_left_to_pika(other: bytes) -> None:
    assert take_arrivals(other + arrival(1, b"x"), 0) == ([], 0)
    assert is_delivery(other, 0) is False


def test_what_is_no_amqp_is_an_error() -> None:
    good = arrival(1, b"ten bytes!")
    for broken in (good[:-1] + b"x", good.replace(b"\xce\x02", b"\xce\x03"), good.replace(b"\xce\x03", b"\xce\x01")):
        with pytest.raises(BrokenStreamError):
            take_arrivals(broken, 0)


def message(tag: int, consumer: str = "amqp/x/2") -> RawMessage:
    delivery = Delivery(consumer, 1_000 + tag, tag, False, is_numbered=False)
    return RawMessage("acme", "pump-7", b"1", datetime.now(UTC), "amqp", "acme.pump-7.telemetry", delivery)


def test_a_batch_is_one_acknowledgement() -> None:
    assert plan_settlement([message(tag) for tag in (7, 8, 9)], frozenset()) == Settlement("amqp/x/2", [], 9, 1_009)


def test_refused_messages_are_refused_one_by_one_and_the_rest_acknowledged_together() -> None:
    batch = [message(tag) for tag in (7, 8, 9, 10)]
    assert plan_settlement(batch, {1, 3}) == Settlement("amqp/x/2", [8, 10], 9, 1_010)
    assert plan_settlement(batch, {0, 1, 2, 3}) == Settlement("amqp/x/2", [7, 8, 9, 10], 0, 1_010)


def test_what_a_former_connection_brought_is_left_to_come_again() -> None:
    assert plan_settlement([message(500, "amqp/x/1"), message(1)], {0}) == Settlement("amqp/x/2", [], 1, 1_001)
    assert plan_settlement([], frozenset()) is None
