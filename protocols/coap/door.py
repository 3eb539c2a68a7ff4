"""The resources of the CoAP server, on the event loop: `/t`, `/c`, `/s`, `/latest`, and `/.well-known/core`, which lists them (RFC 6690).

Answers to people we do not know stay small: they could be sent to a victim in whose name somebody asks (RFC 7252 §11.3).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any

from aiocoap import GET, POST, Message
from aiocoap.error import RenderableError
from aiocoap.protocol import Context
from django.conf import settings

from protocols.coap.address import show_peer
from protocols.coap.blocks import Block, BlockSpool, cut_block
from protocols.coap.commands import COMMANDS
from protocols.coap.desk import Desk
from protocols.coap.discovery import LINK_FORMAT, SMALL_BLOCK, list_links
from protocols.coap.gate import Gate, Sender
from protocols.coap.latest import LatestValues
from protocols.coap.oscore import OscoreDesk, is_answered
from protocols.coap.refusals import (
    BUSY,
    CONTENT,
    CONTINUE,
    ENTITY_TOO_LARGE,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    NOT_LET_IN,
    Answer,
    Refused,
)
from protocols.coap.requests import Asked, read_request
from protocols.coap.sequence import SequenceFile
from protocols.coap.state import STATE
from protocols.coap.transport import TUNING
from protocols.codecs.registry import CODEC_BY_CONTENT_FORMAT, UNSUPPORTED
from protocols.types import REPORTED, RESPONSE, Delivery, RawMessage

logger = logging.getLogger(__name__)

CONSUMER = "coap"
MAX_SPOOLED_BYTES = 16 * 1024 * 1024
SPOOL_IDLE_SECONDS = 60.0
MAX_LOOKED_UP = 2_000  # requests that wait for the database; strangers can cause them

TELEMETRY, LATEST, TO_DO, ANSWER, SETTINGS = ("t",), ("latest",), ("c",), ("c", "<id>"), ("s",)
METHODS = {TELEMETRY: (POST,), LATEST: (GET,), TO_DO: (GET,), ANSWER: (POST,), SETTINGS: (GET, POST)}  # what is posted is taken in
_OSCORE = 9


class Door(Context):  # type: ignore[misc]  # aiocoap has no types
    """Renders requests without a task of their own where the sender is known: most of them.

    `offer` takes a message in or says no. `first_count` numbers the messages; until `repeats_until` (monotonic) a
    message may be the repetition of one that a former process has stored.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        offer: Callable[[RawMessage], bool],
        first_count: int,
        repeats_until: float,
        sequence: SequenceFile,
    ) -> None:
        super().__init__(loop=loop, loggername="coap-server")
        self._gate = Gate()
        self._oscore = OscoreDesk(sequence)
        self._latest = LatestValues()
        self._commands, self._states = Desk(COMMANDS), Desk(STATE)
        self._offer = offer
        self._count = first_count
        self._repeats_until = repeats_until
        self._unanswered: dict[int, tuple[Any, Any]] = {}
        self._spool = BlockSpool(
            max_bytes=settings.IIOT_MAX_MESSAGE_BYTES, max_total_bytes=MAX_SPOOLED_BYTES, idle_seconds=SPOOL_IDLE_SECONDS
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_up_count = 0
        self._start(self._latest.run())

    # --- What the main thread makes known

    def answer(self, answers: Iterable[tuple[int, Answer]]) -> None:
        """Answer messages that are committed or refused, by their numbers."""
        for count, answer in answers:
            waiting = self._unanswered.pop(count, None)
            if waiting is not None:
                respond(waiting[0], answer, block1=waiting[1])

    def give_up(self) -> None:
        """Tell all who wait that their messages may not be stored, and end the look-ups."""
        self.answer([(count, BUSY) for count in list(self._unanswered)])
        for task in self._tasks:
            task.cancel()
        for desk in (self._gate, self._oscore, self._latest, self._commands, self._states):
            desk.close()

    @property
    def is_waited_at(self) -> bool:
        """Whether any device waits for commands, or for what it shall be set to."""
        return self._commands.has_observers or self._states.has_observers

    def bring_commands(self, tenant: str, device_key: str) -> None:
        """Notify a device, where it observes, of what it has to do."""
        for observer in self._commands.find_observers(tenant, device_key):
            self._start(self._commands.notify(observer))

    def bring_state(self, tenant: str, device_key: str) -> None:
        """Notify a device, where it observes, of what it shall be set to."""
        for observer in self._states.find_observers(tenant, device_key):
            self._start(self._states.notify(observer))

    # --- Requests

    def render_to_pipe(self, pipe: Any) -> None:
        """Answer a request, now or later. Nothing that a request says may end in an exception here."""
        try:
            self._render(pipe)
        except Refused as refused:
            respond(pipe, refused.answer)
        except Exception:  # the listener's loop: one request's trouble is not another's
            logger.exception("a request could not be answered")
            respond(pipe, Answer(INTERNAL_ERROR))

    def _render(self, pipe: Any) -> None:
        if pipe.request.opt.get_option(_OSCORE):
            self._look_up(pipe, self._open(pipe))
            return
        asked = read_request(pipe.request)
        if asked.path == (".well-known", "core"):
            self._discover(pipe, asked)
            return
        expect_method(pipe.request, asked)
        sender = self._gate.recall(asked.token)
        if sender is not None and pipe.request.code == POST:
            self._take(pipe, asked, sender)
        elif not asked.token:
            respond(pipe, NOT_LET_IN)
        else:
            self._look_up(pipe, self._identify(pipe, asked))

    def _look_up(self, pipe: Any, work: Coroutine[Any, Any, None]) -> None:
        """Answer later; while the database hangs not for everybody."""
        if self._looked_up_count < MAX_LOOKED_UP:
            self._looked_up_count += 1
            self._start(self._answer_later(pipe, work))
        else:
            work.close()
            respond(pipe, BUSY)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, pipe: Any, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refused as refused:
            respond(pipe, refused.answer)
        except Exception:  # the listener's loop, as above
            logger.exception("a request could not be answered")
            respond(pipe, Answer(INTERNAL_ERROR))
        finally:
            self._looked_up_count -= 1

    async def _identify(self, pipe: Any, asked: Asked) -> None:
        sender = await self._gate.identify(asked.token)
        if sender is None:
            respond(pipe, NOT_LET_IN)
            return

        async def is_allowed() -> bool:
            return await self._gate.identify(asked.token) is not None

        await self._serve(pipe, asked, sender, is_allowed)

    async def _open(self, pipe: Any) -> None:
        """Answer a request under OSCORE."""
        try:
            inner, sender, credential = await self._oscore.open(pipe)
        except RenderableError as challenge:
            pipe.add_response(challenge.to_message(), is_last=True)
            return
        except Refused:
            if is_answered(pipe.request):
                raise
            return

        async def is_allowed() -> bool:
            return await self._oscore.is_valid(credential)

        try:
            asked = read_request(inner.request)
            if asked.path == (".well-known", "core"):
                self._discover(inner, asked)
                return
            expect_method(inner.request, asked)
            await self._serve(inner, asked, sender, is_allowed)
        except Refused as refused:
            respond(inner, refused.answer)

    async def _serve(self, pipe: Any, asked: Asked, sender: Sender, is_allowed: Callable[[], Awaitable[bool]]) -> None:
        if pipe.request.code == POST:
            self._take(pipe, asked, sender)
        elif asked.path == TO_DO:
            await self._commands.answer(pipe, asked, sender, is_allowed=is_allowed)
        elif asked.path == SETTINGS:
            await self._states.answer(pipe, asked, sender, is_allowed=is_allowed)
        else:
            await self._latest.answer(pipe, asked, sender, is_allowed=is_allowed)

    def _discover(self, pipe: Any, asked: Asked) -> None:
        if pipe.request.code != GET:
            raise Refused("not_allowed", code=METHOD_NOT_ALLOWED)
        if asked.accept not in (None, LINK_FORMAT):
            raise Refused("not_acceptable", code=NOT_ACCEPTABLE)
        payload, block = cut_block(list_links(asked.query).encode(), asked.block2, exponent=SMALL_BLOCK)
        message = Message(code=CONTENT, payload=payload, content_format=LINK_FORMAT)
        if block is not None:
            message.opt.block2 = (block.number, block.more, block.exponent)
        send(pipe, message)

    def _take(self, pipe: Any, asked: Asked, sender: Sender) -> None:
        """Take a message, or a block of one, into the buffer; the answer comes after the commit."""
        request, payload = pipe.request, pipe.request.payload
        peer = show_peer(request.remote.sockaddr)
        if asked.block1 is not None:
            whole = self._assemble(asked.block1, payload, key=(peer, asked.path, asked.query, asked.request_tag), sender=sender)
            if whole is None:
                respond(pipe, Answer(CONTINUE), block1=request.opt.block1)
                return
            payload = whole
        codec = "" if asked.content_format is None else CODEC_BY_CONTENT_FORMAT.get(asked.content_format, UNSUPPORTED)
        self._count += 1
        message = RawMessage(
            tenant=sender.tenant,
            device=sender.device.key,
            payload=payload,
            received_at=datetime.now(UTC),
            protocol="coap",
            source=f"POST /{asked.path[0]} from {peer}",
            delivery=Delivery(
                CONSUMER,
                self._count,
                request.mid,
                time.monotonic() < self._repeats_until,
                lifetime_seconds=TUNING.EXCHANGE_LIFETIME,
            ),
            codec=codec,
            channel=channel_of(asked.path),
        )
        if not self._offer(message):
            respond(pipe, BUSY, block1=request.opt.block1)
            return
        self._unanswered[self._count] = (pipe, request.opt.block1)

    def _assemble(self, block: Block, payload: bytes, *, key: tuple[Any, ...], sender: Sender) -> bytes | None:
        who = (sender.tenant, sender.device.id)
        return self._spool.add((who, key), block, payload, sender=who, now=time.monotonic())


def resource_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the resource that a path leads to, as METHODS knows it."""
    return ANSWER if len(path) == len(ANSWER) and path[0] == ANSWER[0] else path


def channel_of(path: tuple[str, ...]) -> str:
    """Return what the pipeline shall take a message to this resource for."""
    if resource_of(path) == ANSWER:
        return f"{RESPONSE}/{path[1]}"
    return REPORTED if path == SETTINGS else ""


def expect_method(request: Any, asked: Asked) -> None:
    """Raises: Refused: 4.04 or 4.05, there is no such resource, or it has no such method."""
    methods = METHODS.get(resource_of(asked.path))
    if methods is None:
        raise Refused("not_found", "/.well-known/core lists what there is", code=NOT_FOUND)
    if request.code not in methods:
        raise Refused("not_allowed", f"use {' or '.join(method.name for method in methods)}", code=METHOD_NOT_ALLOWED)


def respond(pipe: Any, answer: Answer, *, block1: Any = None) -> None:
    """Send an answer without content."""
    message = Message(code=answer.code, payload=answer.payload)
    if answer.max_age is not None:
        message.opt.max_age = answer.max_age
    if answer.size1 is not None:
        message.opt.size1 = answer.size1
    if block1 is not None and answer.code != ENTITY_TOO_LARGE:  # there it would ask for smaller blocks (RFC 7959 §2.9.3)
        message.opt.block1 = block1
    send(pipe, message)


def send(pipe: Any, message: Any, *, is_last: bool = True) -> None:
    """Send a response, unless the request says that this class of it is of no interest (RFC 7967)."""
    message.opt.no_response = pipe.request.opt.no_response
    pipe.add_response(message, is_last=is_last)
