"""`GET …/device/commands?wait=30`: a device's question stays open until there is something for it to do.

Django answers in threads, of which a waiting request would hold one. So the waiting is done here, on the event loop: Django
is asked, and where it has nothing it is asked again when something for this device was queued (NOTIFY), with the device's
token looked at anew each time. Fails open: where nobody tells of new commands, the question ends with its time.
"""

import asyncio
import logging
import re
import select
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs

import psycopg
from django.db import connection

from devices.api.command_views import WAITING_HEADER
from devices.reaching import COMMANDS_CHANNEL

logger = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 60.0
MAX_WAITING = 5_000
MAX_PER_DEVICE = 4
RETRY_SECONDS = 2.0
_PATH = re.compile(r"(?:/t/[^/]+)?/api/v1/device/commands/?\Z")
_HEADER = WAITING_HEADER.lower().encode()

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


class LongPoll:
    """Wraps the application; every other request goes straight through."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._notices = CommandNotices()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        seconds = wanted_seconds(scope)
        if not seconds:
            await self._application(scope, receive, send)
            return
        gone = asyncio.ensure_future(_until_disconnected(receive))
        try:
            for message in await self._ask_until(scope, time.monotonic() + seconds, gone):
                await send(message)
        finally:
            gone.cancel()

    async def _ask_until(self, scope: Any, deadline: float, gone: "asyncio.Future[None]") -> list[Message]:
        """Return Django's answer: the first that holds something, or the last one before the time is over."""
        answer, waits_for = await self._ask(scope)
        if not waits_for or not self._notices.has_room(waits_for):
            return answer
        with self._notices.waiting(waits_for) as queued:
            while waits_for:
                queued.clear()
                answer, waits_for = await self._ask(scope)  # what came between the question and the waiting is in this answer
                left = deadline - time.monotonic()
                if not waits_for or left <= 0 or not await _is_set(queued, gone, left):
                    break
        return answer

    async def _ask(self, scope: Any) -> tuple[list[Message], str]:
        """Return an answer of Django's, and what it waits for: "" where it holds something."""
        answer: list[Message] = []
        request: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if request:
                return request.pop()
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never; Django cancels it

        async def collect(message: Message) -> None:
            answer.append(message)

        await self._application(dict(scope), receive, collect)
        waits_for = ""
        for message in answer:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                waits_for = next((value.decode() for name, value in headers if name.lower() == _HEADER), "")
                message["headers"] = [(name, value) for name, value in headers if name.lower() != _HEADER]
        return answer, waits_for


def wanted_seconds(scope: Any) -> float:
    """Return how long a request wants to wait; 0 where it is none that may, or does not say a number."""
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["query_string"] or not _PATH.match(scope["path"]):
        return 0.0
    [wait] = parse_qs(scope["query_string"].decode("latin-1")).get("wait", ["0"])[-1:]
    return min(float(wait), LONGEST_WAIT_SECONDS) if wait.isascii() and wait.isdecimal() and len(wait) < 6 else 0.0


async def _until_disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _is_set(queued: asyncio.Event, gone: "asyncio.Future[None]", seconds: float) -> bool:
    """Wait for something to be queued; False where the time is over or the device is gone."""
    coming: asyncio.Future[Any] = asyncio.ensure_future(queued.wait())
    try:
        done, _ = await asyncio.wait([coming, gone], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        coming.cancel()
    return coming in done and gone not in done


class CommandNotices:
    """Who waits for which device, and a thread that hears of what is queued. It starts with the first who waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def has_room(self, who: str) -> bool:
        """Tell whether one more may wait for a device; `who` is `<schema> <device key>`."""
        with self._lock:
            return len(self._waiting) < MAX_WAITING and len(self._waiting.get(who, ())) < MAX_PER_DEVICE

    @contextmanager
    def waiting(self, who: str) -> Iterator[asyncio.Event]:
        """Return an event that is set when something for the device was queued, and may be set for nothing."""
        entry = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._waiting.setdefault(who, []).append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="command-notices", daemon=True)
                self._thread.start()
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._waiting[who].remove(entry)
                if not self._waiting[who]:
                    del self._waiting[who]

    def wake(self, who: str | None = None) -> None:
        """Wake those who wait for a device; all where nobody knows for whom something was queued."""
        with self._lock:
            entries = [entry for key, found in self._waiting.items() if who in (None, key) for entry in found]
        for loop, event in entries:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        """Listen as long as anybody waits."""
        while True:
            try:
                self._listen()
            except (psycopg.Error, OSError) as exc:
                logger.warning("long polls hear of nothing for the moment: %s", exc)
                time.sleep(RETRY_SECONDS)
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return

    def _listen(self) -> None:
        with psycopg.connect(**dict(connection.get_connection_params()), autocommit=True) as notices:
            notices.execute(f"LISTEN {COMMANDS_CHANNEL}")
            self.wake()  # what was queued until now was not heard
            while self._waiting:
                select.select([notices.fileno()], [], [], 1.0)
                for notice in notices.notifies(timeout=0):
                    self.wake(notice.payload)
