"""Runs our OPC UA server in a thread of its own, and tries again where its port is taken."""

import asyncio
import logging
import threading

from django.conf import settings

from protocols.opcua.identity import Identity
from protocols.opcua.server import PlatformServer

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
STOP_SECONDS = 10.0


class ServerThread:
    """Serves from `start` until `stop`; `last_error` says why it does not, "" while it does."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="opcua-server", daemon=True)
        self.last_error = ""

    def start(self) -> None:
        """Begin to serve, unless IIOT_OPCUA_PORT is 0."""
        if settings.IIOT_OPCUA_PORT:
            self._thread.start()

    def stop(self) -> None:
        """Close all sessions and the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout=STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            server = PlatformServer(self._identity, bind=settings.IIOT_OPCUA_BIND, port=settings.IIOT_OPCUA_PORT)
            try:
                await server.start()
            except OSError as exc:
                self.last_error = f"Our OPC UA server cannot have port {settings.IIOT_OPCUA_PORT} (IIOT_OPCUA_PORT): {exc.strerror or exc}."
                logger.warning("%s", self.last_error)
                await self._wait(RETRY_SECONDS)
            except Exception as exc:  # the server's loop: whatever it was, it is shown and tried again
                self.last_error = f"Our OPC UA server does not start: {type(exc).__name__}: {exc}"[:500]
                logger.exception("our OPC UA server does not start")
                await self._wait(RETRY_SECONDS)
            else:
                self.last_error = ""
                logger.info("serving OPC UA at %s:%d", settings.IIOT_OPCUA_BIND, server.port)
                await self._stopping.wait()
            finally:
                await server.stop()

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
