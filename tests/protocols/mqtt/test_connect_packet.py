"""The first packet of a connection, with another login put into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.mqtt.connect_packet import MalformedConnectError, is_welcome, read_connect, refuse, write_connect

# MQTT 3.1.1, clean session, keep-alive 60 s, client id "p"
PLAIN = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p"
# MQTT 5, will and login, one property, one property of the will
FULL = (
    b"\x00\x04MQTT\x05\xce\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x01p\x05\x18\x00\x00\x00\x05\x00\x01w\x00\x04gone\x00\x04user\x00\x06secret"
)
LOGIN = b"\x00\x04acme\x00\x02pw"


def test_a_login_is_added() -> None:
    assert write_connect(read_connect(PLAIN), username="acme", password="pw") == b"\x10\x17\x00\x04MQTT\x04\xc2" + PLAIN[8:] + LOGIN


def test_a_login_is_replaced_and_all_else_stays() -> None:
    packet = write_connect(read_connect(FULL), username="acme", password="pw")
    assert packet[2:] == FULL.partition(b"\x00\x04user")[0] + LOGIN
    assert packet[1] == len(packet) - 2


def test_a_long_packet_says_its_length_in_several_bytes() -> None:
    packet = write_connect(read_connect(PLAIN[:-3] + b"\x01\x00" + b"p" * 256), username="acme", password="pw")
    assert packet[:3] == b"\x10" + bytes([0x80 | (len(packet) - 3) % 128, (len(packet) - 3) // 128])


def test_a_bridge_says_its_version_with_a_mark() -> None:
    bridge = PLAIN[:6] + b"\x84" + PLAIN[7:]
    assert read_connect(bridge).version == 4
    assert write_connect(read_connect(bridge), username="acme", password="pw")[8] == 0x84


def test_the_user_name_is_read_where_there_is_one() -> None:
    assert (read_connect(PLAIN).username, read_connect(FULL).username) == ("", "user")


def test_only_a_connack_without_a_fault_is_a_welcome() -> None:
    assert is_welcome(b"\x20\x02\x01\x00")
    assert is_welcome(b"\x20\x06\x00\x00\x03\x21\x00\x0a")
    for packet in (b"\x20\x02\x00\x05", b"\x20\x03\x00\x87\x00", b"\xe0\x00", b"\x20\x00"):
        assert not is_welcome(packet)


@pytest.mark.parametrize("whole", [PLAIN, FULL])
def test_what_is_cut_or_too_long_is_refused(whole: bytes) -> None:
    for end in range(len(whole)):
        with pytest.raises(MalformedConnectError):
            read_connect(whole[:end])
    with pytest.raises(MalformedConnectError):
        read_connect(whole + b"\x00")
    with pytest.raises(MalformedConnectError):
        read_connect(whole[:6] + b"\x06" + whole[7:])


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_refused(body: bytes) -> None:
    for start in (b"", PLAIN[:6], FULL[:6]):
        try:
            read = read_connect(start + body)
        except MalformedConnectError:
            continue
        again = read_connect(write_connect(read, username="acme", password="pw")[2:])
        assert (again.start, again.middle) == (read.start, read.middle)


def test_a_refusal_speaks_the_version_of_who_asked() -> None:
    assert refuse(read_connect(PLAIN), is_known=False) == b"\x20\x02\x00\x05"
    assert refuse(read_connect(PLAIN), is_known=True) == b"\x20\x02\x00\x03"
    assert refuse(read_connect(FULL), is_known=False) == b"\x20\x03\x00\x87\x00"
