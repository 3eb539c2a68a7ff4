"""paho's client with a quicker way in and out: it reads one byte at a time, and sends each PUBACK as a packet of its own.

Measured (stack-notes.md): that takes two thirds of an ingest's CPU time. Here the socket is read in large pieces, whole
PUBLISH packets go to the listener in one call, and its PUBACKs leave together. Connecting, subscribing, keep-alive,
TLS and everything else stay with paho, which reads its packets from what is left in the buffer.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.deliveries import MAX_INFLIGHT
from protocols.mqtt.packets import Front, Publish, take_publishes

READ_BYTES = 256 * 1024
SESSION_SECONDS = 30 * 86_400  # how long an MQTT 5 broker keeps what comes while no listener runs
# Seconds of silence before the first probe, seconds between probes, probes without an answer: a dead host is found in 30 s.
_KEEPALIVE_OPTIONS = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
_PUBACK = b"\x40\x02"
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BufferedSocket:
    """A socket as paho uses one, which reads ahead and lets paho see one whole packet at a time. For one thread, but `append`."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._read = b""
        self._at = 0
        self._front = Front.NOTHING
        self._front_end = 0
        self._is_ended = False
        self._unsent = bytearray()
        self._appending = threading.Lock()

    def take_publishes(self, *, has_properties: bool) -> list[Publish]:
        """Read what has come and return the PUBLISH packets at the front of it."""
        try:
            data = self._link.recv(READ_BYTES)
        except _NOT_NOW:
            pass
        except OSError:
            self._is_ended = True
        else:
            self._is_ended = not data
            self._read, self._at = self._read[self._at :] + data, 0
        found, self._at, self._front, self._front_end = take_publishes(self._read, self._at, has_properties=has_properties)
        return found

    @property
    def has_packet(self) -> bool:
        """Whether there is something for paho: a packet of another kind, or the end of the connection."""
        return self._front is not Front.NOTHING or self._is_ended

    def pending(self) -> int:
        """Return how many bytes can be worked on before more come: those of whole packets, and those inside TLS."""
        inside = getattr(self._link, "pending", int)()
        return len(self._read) - self._at + int(inside) if self.has_packet else int(inside)

    def recv(self, count: int) -> bytes:
        """Give paho its packet. Once that is read there is nothing more, until the next one has been looked at."""
        if self._front is Front.OTHER and self._at < self._front_end:
            data = self._read[self._at : min(self._at + count, self._front_end)]
            self._at += len(data)
            return data
        if self._front is Front.BROKEN or self._is_ended:
            return b""
        self._front = Front.NOTHING
        raise BlockingIOError

    def append(self, data: bytes) -> None:
        """Take data that is to go with the next `send` or `flush`; may be called from any thread."""
        with self._appending:
            self._unsent += data

    def send(self, data: bytes) -> int:
        """Take all of the data; what the network does not take at once goes with `flush`."""
        self.append(data)
        self.flush()
        return len(data)

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the network."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what waits, as far as the network takes it."""
        with self._appending, contextlib.suppress(*_NOT_NOW):
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


class BulkClient(paho.Client):
    """A client that hands over messages of QoS 0 and 1 in lists, as they lie in the buffer, and leaves PUBACKs to the caller."""

    def __init__(
        self,
        *,
        client_id: str,
        protocol: MQTTProtocolVersion,
        on_publishes: Callable[[Sequence[Publish]], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._is_v5 = protocol == MQTTProtocolVersion.MQTTv5
        clean_session = None if self._is_v5 else False
        super().__init__(CallbackAPIVersion.VERSION2, client_id, clean_session=clean_session, protocol=protocol, manual_ack=True)
        self._on_publishes = on_publishes
        self._on_failure = on_failure
        self._link: BufferedSocket | None = None

    def connect_keeping_session(self, host: str, port: int) -> None:
        """Connect soon, without MQTT's keep-alive, to a session that outlives the connection."""
        if not self._is_v5:
            self.connect_async(host, port, keepalive=0)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = MAX_INFLIGHT
        self.connect_async(host, port, keepalive=0, clean_start=False, properties=properties)

    def close(self) -> None:
        """Disconnect behind the last PUBACKs and end the thread; also where an error has ended it already."""
        self.disconnect()
        self.loop_stop()
        self._reset_sockets()  # paho leaves them to the garbage collector, which may come to a socket before it comes to paho

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Send PUBACKs (MQTT 3.1.1 §3.4) together; may be called from any thread. A lost connection swallows them.

        So does one that is being made: nothing goes before CONNECT, and what waits there is for a former connection.
        """
        if self._link is not None and packet_ids and self.is_connected():
            self._link.append(b"".join([_PUBACK + packet_id.to_bytes(2, "big") for packet_id in packet_ids[:-1]]))
            self.ack(packet_ids[-1], 1)  # paho sends the last one, and wakes its thread for that

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # paho's
        """Run as paho's, in the thread of `loop_start`, and tell when an error ends it."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as exc:  # noqa: BLE001 - the edge of the thread: whatever ends it ends the listener
            self._on_failure(exc)
            return MQTTErrorCode.MQTT_ERR_UNKNOWN

    # --- What paho's network loop calls

    def _create_socket(self) -> Any:
        link: Any = super()._create_socket()
        # In place of MQTT's keep-alive: while the buffer behind us is full nothing is read, no PINGRESP either.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE_OPTIONS.items():
            link.setsockopt(socket.IPPROTO_TCP, option, value)
        self._link = BufferedSocket(link)
        return self._link

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        if self._link is not None:
            publishes = self._link.take_publishes(has_properties=self._is_v5)
            if publishes:
                self._on_publishes(publishes)
            if not self._link.has_packet:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super().loop_read(max_packets)

    def want_write(self) -> bool:
        return super().want_write() or (self._link is not None and self._link.has_unsent)

    def loop_write(self) -> MQTTErrorCode:
        if self._link is not None:
            with contextlib.suppress(OSError):  # paho meets the same error when it reads, and handles it
                self._link.flush()
        return super().loop_write()
