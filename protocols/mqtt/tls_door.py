"""A TLS door before the platform's own broker, for devices that show a certificate or log in with their password.

mosquitto can check who signed a certificate and what name it bears, but not whether it is the one that is registered, nor
whether it has been revoked since. So TLS ends here: a certificate that the client CA signed is looked up by its fingerprint, and
its connection is handed on under the name that the broker knows this certificate by, with a password that only the platform
has. Revoking takes that name from the broker, which ends the connection as it does for passwords. Without a certificate a
connection is handed on as it is. After the first packet bytes are bytes. Why: docs/decisions/0012.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.certificates import tenants_named_in
from devices.services import authenticate_certificate
from devices.types import BrokerLogin
from iiot_site.lib.broker_logins import first_login
from protocols.database_threads import DatabaseThreads
from protocols.meter import Load, Meter
from protocols.mqtt.connect_packet import CONNECT, Connect, MalformedConnectError, is_welcome, read_connect, refuse, write_connect
from protocols.mqtt.packets import read_varint
from protocols.mqtt.tls_files import TlsFiles, make_context
from protocols.self_report import HEARTBEAT_SECONDS, SelfReport
from tenants.selectors import get_active_tenant

logger = logging.getLogger(__name__)

NAME = "mqtt-tls"
GREETING_SECONDS = 10.0
UNREAD_SECONDS = 60.0  # as long as a side may leave what it is sent unread
RENEWAL_CHECK_SECONDS = 60.0
STOP_CHECK_SECONDS = 0.2
MAX_CONNECTIONS = 15_000  # as many as the broker takes
MAX_GREETING = 500
MAX_PER_DEVICE = 20
LOOKUPS_AT_ONCE = 4
MAX_CONNECT_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
MAX_TENANTS_NAMED = 4


@dataclass(frozen=True, slots=True)
class _Side:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def certificate(self) -> bytes | None:
        """What the other side has shown, in DER."""
        der: bytes | None = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return der


class TlsDoor:
    """One process: `run` returns after `request_stop`. `port` 0 lets the system choose; then `port` says which."""

    def __init__(self, *, bind: str, port: int, files: TlsFiles, broker: tuple[str, int], ready_file: Path | None = None) -> None:
        self._bind = bind
        self.port = port
        self._files = files
        self._broker = broker
        self._ready_file = ready_file
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeting: dict[asyncio.Task[None], str] = {}  # with the network of each, the oldest first
        self._of_device: dict[str, list[asyncio.Task[None]]] = {}  # who has logged in, the oldest first
        self._meter = Meter()  # of bytes and errors; the messages in them are the MQTT listener's
        self._report = SelfReport(NAME)
        self._is_numbered = False
        self._is_broker_away = True  # until the first report

    def request_stop(self) -> None:
        """End all connections, then `run`. Only sets a flag: signal handlers call it."""
        self._is_stopping = True

    def run(self) -> None:
        """Serve until told to stop.

        Raises:
            OSError: the port is taken, or the certificates cannot be read.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._stamp, self._context = self._files.stamp(), make_context(self._files)
        self._database = DatabaseThreads("tls-door", count=LOOKUPS_AT_ONCE)
        family = socket.AF_INET6 if ":" in self._bind else socket.AF_INET
        with socket.create_server((self._bind, self.port), family=family, backlog=1_024) as listening:
            listening.setblocking(False)
            self.port = listening.getsockname()[1]
            logger.info("listening on %s, TCP port %d, for the broker at %s:%d", self._bind, self.port, *self._broker)
            if self._ready_file is not None:
                self._ready_file.touch()
            work = [asyncio.create_task(task) for task in (self._accept(listening), self._renew(), self._tell())]
            while not self._is_stopping:
                await asyncio.sleep(STOP_CHECK_SECONDS)
            for task in (*work, *self._tasks):
                task.cancel()
            await asyncio.gather(*work, *self._tasks, return_exceptions=True)
        await self._send_report("stopped")
        self._database.close()

    # --- What people see of it

    async def _tell(self) -> None:
        while True:
            if self._is_broker_away:
                await self._look_for_broker()
            await self._send_report("connecting" if self._is_broker_away else "connected")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _look_for_broker(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GREETING_SECONDS):
                (await self._open_broker()).writer.close()

    async def _send_report(self, state: str) -> None:
        """Tell how the door does; nothing where the database does not answer."""
        self._is_numbered = self._is_numbered or await self._ask_database(self._report.claim_number)
        if not self._is_numbered:
            return
        _, bytes_per_second = self._meter.rates(time.monotonic())
        load = Load(
            bytes=self._meter.bytes,
            bytes_per_second=bytes_per_second,
            connections=len(self._tasks) - len(self._greeting),
            errors=self._meter.errors(),
        )
        await self._ask_database(lambda: self._report.send(state=state, load=load, last_error=self._meter.last_error))

    async def _ask_database(self, work: Callable[[], None]) -> bool:
        try:
            await self._database.run(work)
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("no report: %s", exc)
            return False
        return True

    def _note_error(self, text: str) -> None:
        self._meter.note_error(text, timezone.now())
        logger.warning("%s", text)

    def _count_bytes(self, count: int) -> None:
        self._meter.bytes += count

    async def _renew(self) -> None:
        """Take up new certificates; connections that are open keep theirs."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK_SECONDS)
            try:
                if (stamp := self._files.stamp()) != self._stamp:
                    self._context, self._stamp = make_context(self._files), stamp
                    logger.info("took up the new certificates")
            except OSError as exc:
                self._note_error(f"the certificates cannot be read, so the former ones stay: {exc}")

    # --- Connections

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as exc:  # out of file descriptors, or gone before it was here
                self._note_error(f"a connection could not be taken: {exc}")
                await asyncio.sleep(1)
                continue
            if len(self._tasks) >= MAX_CONNECTIONS:
                accepted.close()
                continue
            if len(self._greeting) >= MAX_GREETING:
                self._drop_greeting()
            task = asyncio.create_task(self._serve(accepted, peer[0]))
            self._tasks.add(task)
            self._greeting[task] = network_of(peer[0])
            task.add_done_callback(self._forget)
            await asyncio.sleep(0)  # it begins, and closes its socket when it is dropped

    def _drop_greeting(self) -> None:
        """Make room: the network that keeps most others waiting loses its oldest."""
        ((crowded, _),) = Counter(self._greeting.values()).most_common(1)
        oldest = next(task for task, peer in self._greeting.items() if peer == crowded)
        del self._greeting[oldest]
        oldest.cancel()

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._greeting.pop(task, None)

    def _welcome(self, username: str, task: "asyncio.Task[None]") -> None:
        """Note that a device has logged in; where it has too many connections the oldest ends, which may be a dead one."""
        device = first_login(username)
        others = self._of_device.setdefault(device, [])
        others.append(task)
        task.add_done_callback(lambda ended: self._part(device, ended))
        if len(others) > MAX_PER_DEVICE:
            self._note_error(f"{device} has more than {MAX_PER_DEVICE} connections: its oldest was ended")
            others[0].cancel()

    def _part(self, device: str, task: "asyncio.Task[None]") -> None:
        others = self._of_device[device]
        others.remove(task)
        if not others:
            del self._of_device[device]

    async def _serve(self, accepted: socket.socket, peer: str) -> None:
        sides: list[_Side] = []
        try:
            if await self._greet(accepted, peer, sides):
                self._has_greeted()
                await relay(sides[0], sides[1], self._count_bytes)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, MalformedConnectError) as exc:
            logger.info("a connection from %s ended: %s", peer, str(exc) or type(exc).__name__)
        except Exception:  # the listener's loop: one connection's trouble is not another's
            logger.exception("a connection from %s failed", peer)
            self._meter.note_error(f"a connection from {peer} failed for a reason that the log has", timezone.now())
        finally:
            for side in sides:
                side.writer.close()

    async def _greet(self, accepted: socket.socket, peer: str, sides: list[_Side]) -> bool:
        """Open TLS and the way to the broker; False where the device is not let in."""
        async with asyncio.timeout(GREETING_SECONDS):
            device = await open_tls(accepted, self._context)
            sides.append(device)
            connect, packet = await read_first(device.reader)
            username = connect.username
            if device.certificate is not None:
                username, packet = await self._exchange_login(device.certificate, connect, peer)
            if packet[0] != CONNECT:
                device.writer.write(packet)
                return False
            broker = await self._open_broker()
            sides.append(broker)
            broker.writer.write(packet)
            answer = await read_packet(broker.reader)
            device.writer.write(answer)
            if is_welcome(answer) and (task := asyncio.current_task()) is not None:
                self._welcome(username, task)
            return True

    async def _open_broker(self) -> _Side:
        try:
            side = _Side(*await asyncio.open_connection(*self._broker, limit=CHUNK_BYTES))
        except OSError as exc:
            self._is_broker_away = True
            self._note_error(f"the broker at {self._broker[0]}:{self._broker[1]} cannot be reached: {exc}")
            raise
        self._is_broker_away = False
        return side

    def _has_greeted(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._greeting.pop(task, None)

    async def _exchange_login(self, certificate: bytes, connect: Connect, peer: str) -> tuple[str, bytes]:
        """Return the user name that the certificate stands for and the first packet with it, or a refusal."""
        slugs = sorted(tenants_named_in(certificate))[:MAX_TENANTS_NAMED]
        try:
            login = await self._find_login(slugs, certificate)
        except (DatabaseError, InterfaceError) as exc:
            self._note_error(f"a certificate from {peer} could not be looked up: {exc}")
            return "", refuse(connect, is_known=True)
        if login is None:
            self._note_error(f"refused a certificate from {peer} that is not registered for any device")
            return "", refuse(connect, is_known=False)
        return login.username, write_connect(connect, username=login.username, password=login.password)

    async def _find_login(self, slugs: Sequence[str], certificate: bytes) -> BrokerLogin | None:
        """Ask one tenant after the other."""
        for slug in slugs:
            login = await self._database.run_in_turn(slug, find_login, slug, certificate)
            if login is not None:
                return login
        return None


def find_login(slug: str, certificate: bytes) -> BrokerLogin | None:
    """Return with what the device of a certificate (DER) logs in at the broker; None where it is not one of the tenant's."""
    tenant = get_active_tenant(slug)
    if tenant is None:
        return None
    with tenant_context(tenant):
        return authenticate_certificate(der=certificate, now=timezone.now())


async def open_tls(accepted: socket.socket, context: ssl.SSLContext) -> _Side:
    """Return a connection after its handshake, which proves that the peer has its certificate's key."""
    loop = asyncio.get_running_loop()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # for who asks the broker for no keep-alive of MQTT's
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=GREETING_SECONDS, ssl_shutdown_timeout=GREETING_SECONDS
    )
    return _Side(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def read_first(reader: asyncio.StreamReader) -> tuple[Connect, bytes]:
    """Return the first packet, taken apart and as it came.

    Raises:
        MalformedConnectError: it is no CONNECT, or too large.
    """
    packet = await read_packet(reader, only=CONNECT)
    _, start = read_varint(packet, 1)
    return read_connect(packet[start:]), packet


async def read_packet(reader: asyncio.StreamReader, *, only: int | None = None) -> bytes:
    """Return one packet of MQTT; of another kind than the only one that is expected no more is read than its first bytes.

    Raises:
        MalformedConnectError: it is of another kind, or too large.
    """
    head = await reader.readexactly(2)
    is_expected = only in {None, head[0]}
    while is_expected and head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    length, _ = read_varint(head, 1)
    if not is_expected or not 0 <= length <= MAX_CONNECT_BYTES:
        raise MalformedConnectError("it did not begin with a CONNECT packet")
    return head + await reader.readexactly(length)


def network_of(address: str) -> str:
    """Return what one sender has: an address of IPv4, or a /64 of IPv6, in which everybody may choose new ones."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(found.ipv4_mapped) if found.ipv4_mapped else str(ipaddress.ip_network((found, 64), strict=False))


async def relay(one: _Side, other: _Side, count: Callable[[int], None]) -> None:
    """Carry bytes both ways, and count them, until either side ends."""
    ways = [asyncio.create_task(_carry(one.reader, other.writer, count)), asyncio.create_task(_carry(other.reader, one.writer, count))]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            way.result()
    finally:
        for way in ways:
            way.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(CHUNK_BYTES):
        count(len(data))
        writer.write(data)
        async with asyncio.timeout(UNREAD_SECONDS):
            await writer.drain()
