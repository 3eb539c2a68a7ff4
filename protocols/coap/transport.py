"""UDP and CoAP's message layer (RFC 7252 §4) as in aiocoap, with bounds on what strangers make us read and remember."""

import logging
import socket
import struct
import time
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from aiocoap import ACK, CON, RST, Message
from aiocoap.error import UnparsableMessage
from aiocoap.message import Direction
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import REQUEST_ENTITY_TOO_LARGE
from aiocoap.numbers.constants import Reliable, TransportTuning
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress

from protocols.coap.address import CoapAddress

logger = logging.getLogger(__name__)

# Options are read in quadratic time, so a datagram may be what fits an Ethernet frame and no more; larger is block-wise.
MAX_DATAGRAM_BYTES = 1_500
MAX_TOKEN_BYTES = 8
# A device's last retransmission comes 45 s after the first (MAX_TRANSMIT_SPAN).
MAX_REMEMBERED = 65_536
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024


class Tuning(TransportTuning):  # type: ignore[misc]  # aiocoap has no types
    """Wait longer than a batch takes before an empty acknowledgement, and less than until the device repeats itself (2 s)."""

    EMPTY_ACK_DELAY = 1.0


TUNING = Tuning()


class Confirmed(Reliable):  # type: ignore[misc]  # aiocoap has no types
    """Set as a message's `transport_tuning`: it goes out confirmable, and `on_acknowledged` is called when the peer has it."""

    def __init__(self, on_acknowledged: Callable[[], None]) -> None:
        super().__init__()
        self.on_acknowledged = on_acknowledged


class BoundedMessages(MessageManager):  # type: ignore[misc]  # aiocoap has no types
    """Answers a repeated request with its former answer, as bytes and for the newest requests only; tells of acknowledgements."""

    def __init__(self, token_manager: Any) -> None:
        super().__init__(token_manager)
        self._answers: OrderedDict[tuple[Any, int], tuple[float, bytes]] = OrderedDict()  # b"" until there is one
        self._confirmed: dict[tuple[Any, int], Confirmed] = {}

    def _deduplicate_message(self, message: Any) -> bool:
        key, now = (message.remote.sockaddr[:2], message.mid), time.monotonic()
        forget_before = now - TUNING.EXCHANGE_LIFETIME
        known = self._answers.get(key)
        if known is not None and known[0] > forget_before:
            if message.mtype is CON and known[1]:
                self.message_interface.send_datagram(known[1], message.remote)
            return True
        self._answers.pop(key, None)
        self._answers[key] = (now, b"")
        while len(self._answers) > MAX_REMEMBERED or next(iter(self._answers.values()))[0] <= forget_before:
            self._answers.popitem(last=False)
        return False

    def _add_exchange(self, message: Any, messageerror_monitor: Any) -> None:
        super()._add_exchange(message, messageerror_monitor)
        if isinstance(message.transport_tuning, Confirmed):
            self._confirmed[message.remote, message.mid] = message.transport_tuning

    def _remove_exchange(self, message: Any) -> None:
        confirmed = self._confirmed.pop((message.remote, message.mid), None)
        if confirmed is not None and message.mtype is ACK:
            confirmed.on_acknowledged()
        super()._remove_exchange(message)

    def dispatch_error(self, error: Any, remote: Any) -> None:
        super().dispatch_error(error, remote)
        self._forget_confirmed()

    def _retransmit(self, message: Any, timeout: float, retransmission_counter: int) -> None:
        super()._retransmit(message, timeout, retransmission_counter)
        self._forget_confirmed()

    def _forget_confirmed(self) -> None:
        """Forget what is no longer on its way."""
        for key in self._confirmed.keys() - (self._active_exchanges or {}).keys():
            del self._confirmed[key]

    def _store_response_for_duplicates(self, message: Any) -> None:
        """Leave it to the moment of sending, which has the bytes."""

    def _send_via_transport(self, message: Any) -> None:
        datagram = message.encode()
        if message.mtype in (ACK, RST):
            key = (message.remote.sockaddr[:2], message.mid)
            known = self._answers.get(key)
            if known is not None:
                self._answers[key] = (known[0], datagram)
        self.message_interface.send_datagram(datagram, message.remote)


class DatagramSocket(MessageInterfaceUDP6):  # type: ignore[misc]  # aiocoap has no types
    """A socket whose unreadable datagrams cost nothing but the reading."""

    @classmethod
    async def open(cls, address: CoapAddress, manager: BoundedMessages, loop: AbstractEventLoop) -> "DatagramSocket":
        """Bind the address for this process alone.

        Raises:
            OSError: it is taken, or not ours.
        """
        bound = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            bound.bind((address.mapped_host, address.port))
        except OSError:
            bound.close()
            raise
        opened: DatagramSocket = await cls._create_transport_endpoint(bound, manager, logger, loop)
        return opened

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.transport.get_extra_info("socket").getsockname()[1])

    def send_datagram(self, datagram: bytes, remote: Any) -> None:
        """Send bytes to a peer, from the address that it sent to."""
        ancillary = [] if remote.pktinfo is None else [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, remote.pktinfo)]
        self.transport.sendmsg(datagram, ancillary, 0, remote.sockaddr)

    def datagram_msg_received(self, data: bytes, ancdata: Sequence[tuple[int, int, bytes]], _flags: int, address: Any) -> None:
        pktinfo = next((value for level, kind, value in ancdata if (level, kind) == _PACKET_INFO), None)
        remote = UDP6EndpointAddress(address, self, pktinfo=pktinfo)
        if len(data) < 4 or data[0] & 0x0F > MAX_TOKEN_BYTES:
            return
        if len(data) > MAX_DATAGRAM_BYTES:
            self._refuse_size(data, remote)
            return
        try:
            message = Message.decode(data, remote)
        except (UnparsableMessage, ValueError):  # text that is no UTF-8 is a ValueError
            return
        message.direction = Direction.INCOMING
        message.transport_tuning = TUNING
        self._ctx.dispatch_message(message)

    def _refuse_size(self, data: bytes, remote: Any) -> None:
        """Answer a confirmable message, unread, with 4.13."""
        version_and_type, token = data[0] & 0xF0, data[4 : 4 + (data[0] & 0x0F)]
        if version_and_type == 0x40:
            header = struct.pack("!BB2s", 0x60 | len(token), REQUEST_ENTITY_TOO_LARGE, data[2:4])
            self.send_datagram(header + token, remote)


_PACKET_INFO = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)


async def open_socket(context: Any, address: CoapAddress) -> DatagramSocket:
    """Give a context its socket; the context renders what comes in.

    Raises:
        OSError: the address is taken, or not ours.
    """
    tokens = TokenManager(context)
    messages = BoundedMessages(tokens)
    messages.message_interface = await DatagramSocket.open(address, messages, context.loop)
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    opened: DatagramSocket = messages.message_interface
    return opened
