"""uvicorn's HTTP protocol, which waits for a whole request as long as a person would, and then hangs up.

Without that, connections with half a request live for ever: uvicorn has a time limit only between requests.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# From connecting, or a request's first byte, until its last. A slow line uploads 20 MiB in this time at 3 Mbit/s.
REQUEST_SECONDS = 60.0


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_request()

    def on_message_complete(self) -> None:
        self._end_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._end_waiting()
        super().handle_websocket_upgrade()

    def _await_request(self) -> None:
        self._end_waiting()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._hang_up)

    def _end_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        transport: Any = self.transport
        transport.abort()
