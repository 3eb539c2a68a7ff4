"""The live WebSocket: a client subscribes to topics of one tenant and gets the frames that the apps push.

In: `{"type": "subscribe" | "unsubscribe", "topics": […]}` and `{"type": "ping"}`. Out: `subscribed`, `unsubscribed`,
`pong`, `error` (`code`, `detail`, `topics`) and the frames themselves.

A refused handshake is closed with 4404 before it is accepted, which the protocol turns into HTTP 403 for outsiders,
unknown tenants and people who are not logged in alike. Afterwards: 4401 rights ended, 4408 reads too slowly, 1009 frame
too large, 1008 too many messages.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import deque
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, InterfaceError

from iiot_site.lib.live import group_name
from iiot_site.live_access import LiveCaller, authenticate_socket, may_subscribe

logger = logging.getLogger(__name__)

MAX_FRAME_CHARS = 64 * 1024
MAX_TOPICS = 50
MAX_TOPIC_CHARS = 64
MAX_MESSAGES_PER_MINUTE = 240
RECHECK_SECONDS = 60
SEND_SECONDS = 5.0

REFUSED, RIGHTS_ENDED, TOO_SLOW, TOO_LARGE, POLICY = 4404, 4401, 4408, 1009, 1008

# The overview shows what concerns the whole plant: its incidents, and which devices went silent or came back.
_GROUPS = {"overview": ("overview", "incidents")}


class LiveConsumer(AsyncWebsocketConsumer):
    """One client. Keeps its rights, its topics and a task that checks the rights again."""

    caller: LiveCaller | None = None
    recheck: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Accept members of exactly one tenant, refuse everybody else."""
        self.topics: set[str] = set()
        self.arrivals: deque[float] = deque(maxlen=MAX_MESSAGES_PER_MINUTE)
        self.caller = await self._authenticate()
        if self.caller is None:
            await self.close(REFUSED)
            return
        await self.accept()
        self.recheck = asyncio.create_task(self._recheck_rights())

    async def disconnect(self, code: int) -> None:
        """Leave all topics."""
        if self.recheck is not None:
            self.recheck.cancel()
        for topic in self._groups(self.topics):
            await self.channel_layer.group_discard(topic, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message of the client."""
        if text_data is None or len(text_data) > MAX_FRAME_CHARS:
            await self.close(TOO_LARGE)
        elif self._is_flooding():
            await self.close(POLICY)
        else:
            await self._answer(_parse(text_data))

    async def live_frame(self, event: dict[str, Any]) -> None:
        """Hand on a frame that an app pushed (see iiot_site.lib.live)."""
        await self._send(event["frame"])

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
            return [topic for topic in topics if caller is not None and may_subscribe(caller=caller, topic=topic)]

        return await database_sync_to_async(check)()  # type: ignore[no-any-return]  # channels has no types

    async def _authenticate(self) -> LiveCaller | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}
        authenticate = database_sync_to_async(authenticate_socket)
        return await authenticate(headers=headers, path_slug=self.scope["tenant_slug"])  # type: ignore[no-any-return]  # as above

    async def _recheck_rights(self) -> None:
        """End the socket within a minute of logout, disabling, expiry, suspension or a narrower role."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load, guards nothing
            try:
                may_stay = await self._may_stay()
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


def _is_topic_name(topic: object) -> bool:
    return isinstance(topic, str) and len(topic) <= MAX_TOPIC_CHARS and topic.isascii()


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
