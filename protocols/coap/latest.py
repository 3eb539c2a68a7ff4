"""`/latest`: a device's own newest values, and Observe (RFC 7641) to hear of each change."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiocoap import Message
from aiocoap.numbers.constants import Reliable
from django_tenants.utils import tenant_context

from devices.models import Device
from protocols.coap.content import encode, expect_format, render, wants_to_observe
from protocols.coap.gate import Sender
from protocols.coap.refusals import NOT_LET_IN, Refused
from protocols.coap.requests import Asked
from protocols.coap.threads import AnsweringThreads
from telemetry.qualities import QUALITY_NAMES
from telemetry.selectors import list_latest
from tenants.selectors import get_active_tenant

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
MAX_OBSERVERS = 1_000
MAX_PER_DEVICE = 4


@dataclass(slots=True)
class _Observer:
    pipe: Any
    asked: Asked
    sender: Sender
    is_allowed: Callable[[], Awaitable[bool]]
    shown: bytes
    number: int = 0


class LatestValues:
    """Answers requests, and once a second looks whether observers have something to hear. Used on the event loop."""

    def __init__(self) -> None:
        self._thread = AnsweringThreads("coap-latest", count=2)
        self._observers: dict[int, _Observer] = {}

    async def answer(self, pipe: Any, asked: Asked, sender: Sender, *, is_allowed: Callable[[], Awaitable[bool]]) -> None:
        """Answer a request; it stays open where the device wants to observe and there is room.

        Raises:
            Refused: 4.06 for a format that we do not have, 5.03 where the database is away.
        """
        expect_format(asked)
        content = encode(await self._thread.run_in_turn(sender.tenant, load_latest, sender), asked)
        message = render(content, asked)
        observes = wants_to_observe(asked) and self._has_room(sender)
        if observes:
            message.opt.observe = 0
            self._observers[id(pipe)] = _Observer(pipe, asked, sender, is_allowed, content)
        message.opt.no_response = pipe.request.opt.no_response
        pipe.add_response(message, is_last=not observes)
        if observes:
            pipe.on_interest_end(lambda: self._observers.pop(id(pipe), None))

    async def run(self) -> None:
        """Notify for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._notify_all()
            except Exception:
                logger.exception("observers could not be notified")

    def close(self) -> None:
        """End the look-ups."""
        self._thread.close()

    def _has_room(self, sender: Sender) -> bool:
        counts = Counter(_key(observer.sender) for observer in self._observers.values())
        return counts.total() < MAX_OBSERVERS and counts[_key(sender)] < MAX_PER_DEVICE

    async def _notify_all(self) -> None:
        values: dict[tuple[str, int], dict[str, Any]] = {}
        failing: set[str] = set()
        for observer in list(self._observers.values()):
            tenant = observer.sender.tenant
            if tenant in failing:
                continue
            try:
                await self._notify(observer, values)
            except Refused:
                failing.add(tenant)  # its tables, or the whole database; the others need not wait for it

    async def _notify(self, observer: _Observer, values: dict[tuple[str, int], dict[str, Any]]) -> None:
        if not await observer.is_allowed():
            observer.pipe.add_response(Message(code=NOT_LET_IN.code), is_last=True)
            return
        key = _key(observer.sender)
        if key not in values:
            values[key] = await self._thread.run_in_turn(observer.sender.tenant, load_latest, observer.sender)
        content = encode(values[key], observer.asked)
        if content != observer.shown:
            observer.shown = content
            observer.number = (observer.number + 1) % (1 << 24)
            message = render(content, observer.asked)
            message.opt.observe = observer.number
            message.transport_tuning = Reliable()  # who has gone does not acknowledge, and is forgotten
            observer.pipe.add_response(message, is_last=False)


def _key(sender: Sender) -> tuple[str, int]:
    return sender.tenant, sender.device.id


def load_latest(sender: Sender) -> dict[str, Any]:
    """Return the device's newest value of each metric."""
    tenant = get_active_tenant(sender.tenant)
    if tenant is None:
        return {}
    with tenant_context(tenant):
        values = list_latest(Device(id=sender.device.id))
    return {
        value.metric: {
            "value": value.value,
            "ts": int(value.ts.timestamp() * 1000),
            "quality": QUALITY_NAMES[value.quality],
            **({"unit": value.unit} if value.unit else {}),
        }
        for value in values
    }
