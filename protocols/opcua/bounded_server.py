"""asyncua's server with bounds on what strangers may cost: the size of a chunk, and connections that nobody has logged in on."""

import asyncio
import logging
from typing import Any

from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.server import Server

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 65_535
MAX_STRANGERS_PER_ADDRESS = 10


class _BoundedProtocol(OPCUAProtocol):
    """A connection. It hangs up on a client that announces a chunk larger than any may be, before that is collected."""

    host = ""

    @property
    def is_logged_in(self) -> bool:
        session = self.processor.session if self.processor is not None else None
        return session is not None and session.is_activated()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; strangers get few per address, and give way to others where all are taken."""
        self.host = str((transport.get_extra_info("peername") or [""])[0])
        strangers: list[Any] = [client for client in self.clients if not getattr(client, "is_logged_in", False)]
        if sum(client.host == self.host for client in strangers) >= MAX_STRANGERS_PER_ADDRESS:
            logger.warning("refused a connection from %s: %d of it wait for a login", self.host, MAX_STRANGERS_PER_ADDRESS)
            transport.close()
            return
        if strangers and len(self.clients) >= self.iserver.max_connections:
            self.clients.remove(strangers[0])
            strangers[0].transport.abort()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > CHUNK_BYTES and self.transport is not None:
            self.transport.close()
            self._buffer = b""


class _BoundedBinaryServer(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        return _BoundedProtocol(
            iserver=self.iserver, policies=self._policies, clients=self.clients, closing_tasks=self.closing_tasks, limits=self.limits
        )


class BoundedServer(Server):
    """asyncua's server, listening through the bounded connections."""

    async def start(self) -> None:
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = _BoundedBinaryServer(self.iserver, host or "127.0.0.1", port or 0, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()
