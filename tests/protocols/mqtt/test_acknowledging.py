"""In which order messages are acknowledged to the broker, and when not at all."""

import socket
from collections.abc import Sequence

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from protocols.mqtt.acknowledging import PubackOrder
from protocols.mqtt.link import BufferedSocket, BulkClient
from protocols.types import Delivery


class Desk(PubackOrder):
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        super().__init__(self.sent.extend)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def deliveries(*numbered: tuple[int, int]) -> Sequence[Delivery]:
    return [Delivery("listener", count, packet_id, False) for count, packet_id in numbered]


def test_what_is_ignored_waits_for_what_came_before_it(desk: Desk) -> None:
    desk.ignore(11, count=1)
    desk.ignore(13, count=2)
    desk.ignore(14, count=2)
    assert desk.sent == []
    desk.acknowledge(deliveries((1, 10)))
    assert desk.sent == [10, 11]
    desk.acknowledge(deliveries((2, 12), (3, 15)))
    assert desk.sent == [10, 11, 12, 13, 14, 15]


def test_what_is_ignored_goes_at_once_where_nothing_waits(desk: Desk) -> None:
    desk.ignore(1, count=0)
    desk.acknowledge(deliveries((1, 2)))
    desk.ignore(3, count=1)
    assert desk.sent == [1, 2, 3]


def test_a_new_connection_owes_nothing_for_what_a_former_one_brought(desk: Desk) -> None:
    desk.ignore(11, count=2)
    desk.begin_connection(count=2)
    desk.ignore(20, count=2)
    desk.acknowledge(deliveries((1, 9), (2, 10), (3, 21)))
    assert desk.sent == [20, 21]


def test_nothing_is_acknowledged_before_the_broker_has_let_us_in() -> None:
    ours, brokers = socket.socketpair()
    with ours, brokers:
        brokers.setblocking(False)
        client = BulkClient(client_id="c", protocol=MQTTProtocolVersion.MQTTv311, on_publishes=print, on_failure=print)
        client._link = BufferedSocket(ours)
        client.acknowledge([1, 2])
        assert not client._link.has_unsent
        with pytest.raises(BlockingIOError):
            brokers.recv(10)
