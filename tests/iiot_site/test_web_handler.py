"""Django's door for HTTP: one thread for a whole request, and used again; what is streamed ends with the client."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core import signals
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from iiot_site.web_handler import ThreadedHandler
from tests.waiting import WAIT_SECONDS

seen: list[tuple[str, int]] = []
wrappers: list[BaseDatabaseWrapper] = []


def note(what: str) -> None:
    seen.append((what, threading.get_ident()))


def show(request: HttpRequest) -> HttpResponse:
    note("view")
    return HttpResponse(request.body + request.get_full_path().encode())


def fail(_: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault of ours")


def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(count_for_ever())


def look_up_and_stream(request: HttpRequest) -> StreamingHttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close_at = 0.0  # as in the web process, which keeps none for later
    wrappers.append(connections["default"])
    return stream(request)


async def count_for_ever() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"more"
            await asyncio.sleep(0.001)
    finally:
        note("stream ended")


class Noting:
    """A middleware."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        note("middleware")
        return self.get_response(request)


urlpatterns = [path("show", show), path("fail", fail), path("stream", stream), path("look-up", look_up_and_stream)]


@contextmanager
def noting_signals() -> Iterator[None]:
    def start(**_: Any) -> None:
        note("started")

    def finish(**_: Any) -> None:
        note("finished")

    seen.clear()
    signals.request_started.connect(start)
    signals.request_finished.connect(finish)
    yield
    signals.request_started.disconnect(start)
    signals.request_finished.disconnect(finish)


@pytest.fixture
def handler() -> Iterator[ThreadedHandler]:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.Noting"]), noting_signals():
        yield ThreadedHandler()


async def ask(handler: ThreadedHandler, address: str, body: bytes = b"", *, hang_up_after: int = 1_000_000) -> tuple[int, bytes]:
    """Return status and body; hang up after so many parts of an answer."""
    scope = {"type": "http", "method": "POST", "path": address, "query_string": b"x=1", "headers": [(b"host", b"localhost")]}
    sent: list[dict[str, Any]] = []
    is_over = asyncio.Event()
    requests: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:2], "more_body": True},
        {"type": "http.request", "body": body[2:]},
    ]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop(0)
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > hang_up_after:
            is_over.set()

    await asyncio.wait_for(handler(scope, receive, send), WAIT_SECONDS)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_a_request_is_answered_from_beginning_to_end_in_one_thread_that_serves_the_next_one_too(handler: ThreadedHandler) -> None:
    for _ in range(2):
        assert await ask(handler, "/show", b"hello") == (200, b"hello/show?x=1")
    assert [what for what, _ in seen] == ["started", "middleware", "view", "finished"] * 2
    [thread] = {thread for _, thread in seen}
    assert thread != threading.get_ident()


async def test_requests_do_not_wait_for_each_other(handler: ThreadedHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    both_in = threading.Barrier(2)
    monkeypatch.setattr(f"{__name__}.note", lambda what: both_in.wait(WAIT_SECONDS) if what == "view" else None)
    assert list(await asyncio.gather(ask(handler, "/show"), ask(handler, "/show"))) == [(200, b"/show?x=1")] * 2


async def test_a_fault_of_ours_is_a_500_and_ends_the_request_as_any_other(handler: ThreadedHandler) -> None:
    status, _ = await ask(handler, "/fail")
    assert (status, seen[-1][0]) == (500, "finished")


async def test_what_is_streamed_ends_when_the_client_hangs_up(handler: ThreadedHandler) -> None:
    status, body = await ask(handler, "/stream", hang_up_after=5)
    assert status == 200
    assert body.startswith(b"moremore")
    assert [what for what, _ in seen] == ["started", "middleware", "stream ended", "finished"]


@pytest.mark.django_db(transaction=True)
async def test_what_is_streamed_leaves_no_connection_with_the_thread_that_began_it(handler: ThreadedHandler) -> None:
    await ask(handler, "/look-up", hang_up_after=5)
    assert wrappers.pop().connection is None


async def test_a_client_that_goes_before_its_request_is_whole_is_not_answered(handler: ThreadedHandler) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await handler({"type": "http", "method": "POST", "path": "/show", "headers": []}, receive, None)
    assert not seen
