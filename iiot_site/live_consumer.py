"""The live WebSocket: a client subscribes to topics of one tenant and gets the frames that the apps push.

In: `{"type": "subscribe" | "unsubscribe", "topics": […]}` and `{"type": "ping"}`. Out: `subscribed`, `unsubscribed`,
`pong`, `error` (`code`, `detail`, `topics`) and the frames themselves.

A refused handshake is closed with 4404 before it is accepted, which the protocol turns into HTTP 403 for outsiders,
unknown tenants and people who are not logged in alike. Afterwards: 4401 rights ended, 4408 reads too slowly, 4429 the person
or the tenant has too many sockets open, 1013 the tenant has its share of the process in work, 1009 frame too large, 1008 too
many messages.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, InterfaceError, connection

from devices.credential_formats import slug_of_schema
from iiot_site.lib.errors import TenantBusyError
from iiot_site.lib.live import group_name
from iiot_site.lib.turns import turns
from iiot_site.live_access import LiveCaller, authenticate_socket, may_subscribe
from iiot_site.live_places import places
from protocols.database_threads import DatabaseThreads
from telemetry.live import MAX_VALUES_PER_FRAME

logger = logging.getLogger(__name__)

MAX_FRAME_CHARS = 64 * 1024
MAX_TOPICS = 50
MAX_TOPIC_CHARS = 64
MAX_MESSAGES_PER_MINUTE = 240
RECHECK_SECONDS = 60
MISSED_CHECKS = 3
SEND_SECONDS = 5.0
GATHER_SECONDS = 0.25  # a device that sends a hundred times a second makes a page no livelier than four times

REFUSED, RIGHTS_ENDED, TOO_SLOW, TOO_MANY, TRY_LATER, TOO_LARGE, POLICY = 4404, 4401, 4408, 4429, 1013, 1009, 1008

# Who waits for the database in one of them, for a lock or a turn of its tenant, must not keep the others waiting.
MAX_THREADS = 400
_threads = DatabaseThreads("live", count=MAX_THREADS)
P = ParamSpec("P")
R = TypeVar("R")

# The overview shows what concerns the whole plant: its incidents, and which devices went silent or came back.
_GROUPS = {"overview": ("overview", "incidents")}


class LiveConsumer(AsyncWebsocketConsumer):
    """One client. Keeps its rights, its topics and a task that checks the rights again."""

    caller: LiveCaller | None = None
    place: LiveCaller | None = None
    recheck: "asyncio.Task[None] | None" = None
    pause: "asyncio.Task[None] | None" = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket to its end, whatever ends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.place is not None:
                places.leave(self.place)

    async def connect(self) -> None:
        """Accept members of exactly one tenant, refuse everybody else."""
        self.topics: set[str] = set()
        self.gathered: dict[str, dict[str, Any]] = {}
        self.arrivals: deque[float] = deque(maxlen=MAX_MESSAGES_PER_MINUTE)
        try:
            caller = await self._authenticate()
        except TenantBusyError:
            await self.close(TRY_LATER)
            return
        if caller is None:
            await self.close(REFUSED)
            return
        if not places.take(caller):
            await self.accept()  # a browser is told no code before that
            await self.close(TOO_MANY)
            return
        self.caller = self.place = caller
        await self.accept()
        self.recheck = asyncio.create_task(self._recheck_rights())

    async def disconnect(self, code: int) -> None:
        """Leave all topics."""
        for task in (self.recheck, self.pause):
            if task is not None:
                task.cancel()
        for topic in self._groups(self.topics):
            await self.channel_layer.group_discard(topic, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message of the client."""
        if text_data is None or len(text_data) > MAX_FRAME_CHARS:
            await self.close(TOO_LARGE)
        elif self._is_flooding():
            await self.close(POLICY)
        else:
            try:
                await self._answer(_parse(text_data))
            except TenantBusyError:
                await self.close(TRY_LATER)

    async def live_frame(self, event: dict[str, Any]) -> None:
        """Hand on a frame that an app pushed (see iiot_site.lib.live)."""
        frame = event["frame"]
        if frame.get("type") != "telemetry_update" or "device" not in frame:
            await self._send(frame)
        elif self.pause is None or self.pause.done():
            await self._send(frame)
            self.pause = asyncio.create_task(self._send_gathered())
        else:
            waiting = self.gathered.setdefault(frame["device"], {**frame, "values": []})
            waiting["values"] = [*waiting["values"], *frame["values"]][-MAX_VALUES_PER_FRAME:]

    async def _send_gathered(self) -> None:
        """Send what comes of each device meanwhile as one frame, now and then, until nothing comes any more."""
        with contextlib.suppress(StopConsumer):
            await asyncio.sleep(GATHER_SECONDS)
            while self.gathered:
                frames, self.gathered = self.gathered, {}
                for frame in frames.values():
                    await self._send(frame)
                await asyncio.sleep(GATHER_SECONDS)

    async def _answer(self, message: dict[str, Any]) -> None:
        kind, topics = message.get("type"), message.get("topics")
        if kind == "ping":
            await self._send({"type": "pong"})
        elif not isinstance(kind, str) or kind not in {"subscribe", "unsubscribe"}:
            await self._send_error("unknown_type", 'Send {"type": "subscribe", "topics": ["incidents", "device:<id>"]}.', [])
        elif not isinstance(topics, list) or not all(_is_topic_name(topic) for topic in topics):
            await self._send_error("invalid", '"topics" is a list of topic names.', [])
        elif kind == "subscribe":
            await self._subscribe(list(dict.fromkeys(topics)))
        else:
            await self._unsubscribe(set(topics) & self.topics)

    async def _subscribe(self, topics: list[str]) -> None:
        if len(self.topics.union(topics)) > MAX_TOPICS:
            await self._send_error("too_many_topics", f"One socket follows at most {MAX_TOPICS} topics.", topics)
            return
        accepted = await self._readable(topics)
        for topic in accepted:
            self.topics.add(topic)
        for group in self._groups(accepted):
            await self.channel_layer.group_add(group, self.channel_name)
        if refused := [topic for topic in topics if topic not in accepted]:
            await self._send_error("not_found", "No such topic here, or your role may not read it.", refused)
        if accepted:
            await self._send({"type": "subscribed", "topics": accepted})

    async def _unsubscribe(self, topics: set[str]) -> None:
        self.topics -= topics
        for group in self._groups(topics) - self._groups(self.topics):
            await self.channel_layer.group_discard(group, self.channel_name)
        await self._send({"type": "unsubscribed", "topics": sorted(topics)})

    def _groups(self, topics: "set[str] | list[str]") -> set[str]:
        if self.caller is None:
            return set()
        return {group_name(self.caller.schema, group) for topic in topics for group in _GROUPS.get(topic, (topic,))}

    async def _readable(self, topics: list[str]) -> list[str]:
        caller = self.caller

        def check() -> list[str]:
            if caller is None:
                return []
            with turns.turn(slug_of_schema(caller.schema)):
                return [topic for topic in topics if may_subscribe(caller=caller, topic=topic)]

        return await _in_thread(check)

    async def _authenticate(self) -> LiveCaller | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}
        return await _in_thread(authenticate_socket, headers=headers, path_slug=self.scope["tenant_slug"])

    async def _recheck_rights(self) -> None:
        """End the socket within a minute of logout, disabling, expiry, suspension or a narrower role.

        Where the tenant leaves no turn for the check, some minutes later: who is out may be who takes them all.
        """
        missed = 0
        while True:
            await asyncio.sleep(RECHECK_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load, guards nothing
            try:
                may_stay = await self._may_stay()
            except TenantBusyError:
                missed += 1
                if missed == MISSED_CHECKS:
                    await self._end(TRY_LATER)
                    return
                continue
            except (DatabaseError, InterfaceError) as exc:  # without the database no frame comes either; the next check decides
                logger.warning("rights were not checked, the next try is in a minute: %s", exc)
                continue
            except asyncio.CancelledError:
                raise
            except BaseException:  # nobody would check again
                await self._end(RIGHTS_ENDED)
                raise
            if not may_stay:
                await self._end(RIGHTS_ENDED)
                return
            missed = 0

    async def _may_stay(self) -> bool:
        caller = await self._authenticate()
        if caller is None or self.caller is None or caller.user_id != self.caller.user_id:
            return False
        self.caller = caller
        topics = sorted(self.topics)  # a subscription may be added while the rights to these are checked
        return len(await self._readable(topics)) == len(topics)

    def _is_flooding(self) -> bool:
        now = time.monotonic()
        is_full = len(self.arrivals) == MAX_MESSAGES_PER_MINUTE
        is_flooding = is_full and now - self.arrivals[0] < 60
        self.arrivals.append(now)
        return is_flooding

    async def _send(self, frame: dict[str, Any]) -> None:
        """Send, or drop a client that does not read: its queue would grow for ever."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.send(text_data=json.dumps(frame, ensure_ascii=False))
        except TimeoutError:
            logger.warning("a live client of %s reads too slowly and was dropped", self.caller and self.caller.schema)
            await self._end(TOO_SLOW)
            raise StopConsumer from None

    async def _send_error(self, code: str, detail: str, topics: list[str]) -> None:
        await self._send({"type": "error", "code": code, "detail": detail, "topics": topics[:MAX_TOPICS]})

    async def _end(self, code: int) -> None:
        """Close and leave the topics even where the client does not answer the close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.close(code)
        for group in self._groups(self.topics):
            await self.channel_layer.group_discard(group, self.channel_name)


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Ask the database in a thread, whose connection others have afterwards."""

    def ask() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            connection.close()

    return await _threads.run(ask)


def _is_topic_name(topic: object) -> bool:
    return isinstance(topic, str) and len(topic) <= MAX_TOPIC_CHARS and topic.isascii()


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
