"""Django's door for HTTP with one change of threads per request, where Django's own makes a dozen of them under ASGI.

Everything we have is synchronous: middleware, views, the database. Django runs a synchronous middleware in a thread, goes
back to the event loop to find the view, to the thread for the view, and back, and starts a thread for every request. Here
the whole of a request, from `request_started` to `request_finished`, is one call in a thread that is used again. Only an answer
that is made while it is sent, such as an export, is left to Django's way, which also hears when the client hangs up.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections
from django.http.response import FileResponse
from django.urls import set_script_prefix

# Far more than there are database connections: who waits for one must not keep those waiting who need none (health).
MAX_THREADS = 1_000


class ThreadedHandler(ASGIHandler):
    """The ASGI application for HTTP. Django must be set up before one is made."""

    def __init__(self) -> None:
        self.load_middleware(is_async=False)
        threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="web")
        self._answer_in_thread = sync_to_async(self._answer_now, thread_sensitive=False, executor=threads)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        try:
            response = await self._answer(scope, body)
            if response.streaming:
                await self._send_while_made(response, receive, send)
            else:
                await self.send_response(response, send)
        finally:
            body.close()

    async def _answer(self, scope: Any, body: IO[bytes]) -> Any:
        """Return the answer; where nobody waits for it any more, see to it that it is closed all the same."""
        answering = asyncio.ensure_future(self._answer_in_thread(scope, body))
        try:
            return await asyncio.shield(answering)
        except asyncio.CancelledError:
            answering.add_done_callback(_close_unsent)
            raise

    def _answer_now(self, scope: Any, body: IO[bytes]) -> Any:
        """Do all that a request takes, database connection given back included, but for the parts of a streamed answer."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response: Any = self.get_response(request) if request is not None else refusal
        response._handler_class = self.__class__  # noqa: SLF001  # the sender of request_finished
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if response.streaming:
            close_old_connections()  # the parts are made in another thread, and this one may be without work for long
        else:
            response.close()
        return response

    async def _send_while_made(self, response: Any, receive: Any, send: Any) -> None:
        """Send an answer that is made meanwhile, until it ends or the client hangs up."""
        async with ThreadSensitiveContext():
            sending = asyncio.ensure_future(self.send_response(response, send))
            hanging_up = asyncio.ensure_future(receive())
            try:
                await asyncio.wait([sending, hanging_up], return_when=asyncio.FIRST_COMPLETED)
            finally:
                hanging_up.cancel()
                was_sent = sending.done()
                sending.cancel()
                await asyncio.wait([sending])
                await sync_to_async(response.close)()
        if was_sent:
            sending.result()


def _close_unsent(answering: "asyncio.Future[Any]") -> None:
    if not answering.cancelled() and answering.exception() is None and not answering.result().closed:
        answering.result().close()
