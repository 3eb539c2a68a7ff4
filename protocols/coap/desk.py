"""What the platform tells devices, and Observe (RFC 7641) to hear of it at once. Used on the event loop.

`protocols.coap.commands` and `protocols.coap.state` say what. Whoever observes gets it in a confirmable notification
when there is something new or it is due again; its acknowledgement means that the device has been told.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiocoap import Message
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.services import record_activity
from iiot_site.lib.clock import put_on_database_clock
from protocols.coap.content import encode, expect_format, render, wants_to_observe
from protocols.coap.gate import Sender
from protocols.coap.refusals import NOT_LET_IN, TOO_MANY_REQUESTS, Refused
from protocols.coap.requests import Asked
from protocols.coap.threads import AnsweringThreads
from protocols.coap.transport import Confirmed
from tenants.selectors import get_active_tenant

logger = logging.getLogger(__name__)

PROTOCOL = "coap"
T = TypeVar("T")
MAX_OBSERVERS = 10_000
MAX_PER_DEVICE = 4


@dataclass(slots=True, eq=False)
class _Observer:
    pipe: Any
    asked: Asked
    sender: Sender
    is_allowed: Callable[[], Awaitable[bool]]
    arrival: asyncio.Future[bool]  # of the notification that is on its way
    number: int = 0
    is_due: bool = False
    is_busy: bool = False
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Matter(Generic[T]):
    """What a desk tells devices of.

    `load` returns it for a device of the current tenant, None where there is nothing; `note` writes down that a device has been
    told. Both are called on a thread of the desk's, `describe` on the event loop.
    """

    name: str
    load: Callable[[Sender], T | None]
    describe: Callable[[T | None], Mapping[str, Any]]
    note: Callable[[T], None]


class Desk(Generic[T]):
    """Answers requests, and notifies devices that observe. One notification at a time is on its way to each."""

    def __init__(self, matter: Matter[T]) -> None:
        self._matter = matter
        self._thread = AnsweringThreads(f"coap-{matter.name}", count=2)
        self._observers: dict[tuple[str, str], list[_Observer]] = {}
        self._asking: Counter[tuple[str, str]] = Counter()

    @property
    def has_observers(self) -> bool:
        """Whether anybody can be notified; may be asked from any thread."""
        return bool(self._observers)

    async def answer(self, pipe: Any, asked: Asked, sender: Sender, *, is_allowed: Callable[[], Awaitable[bool]]) -> None:
        """Answer a request; it stays open where the device wants to observe and there is room.

        Raises:
            Refused: 4.06 for a format that we do not have, 4.29 for too many questions at once, 5.03 where the database is away.
        """
        expect_format(asked)
        if self._asking[_key(sender)] >= MAX_PER_DEVICE:
            raise Refused("rate_limited", code=TOO_MANY_REQUESTS, max_age=2)
        self._asking[_key(sender)] += 1
        try:
            await self._answer(pipe, asked, sender, is_allowed)
        finally:
            self._asking -= Counter([_key(sender)])

    async def _answer(self, pipe: Any, asked: Asked, sender: Sender, is_allowed: Callable[[], Awaitable[bool]]) -> None:
        told = await self._thread.run_in_turn(sender.tenant, self._load, sender)
        message = render(encode(self._matter.describe(told), asked), asked)
        observes = wants_to_observe(asked) and self._has_room(sender)
        if observes:
            message.opt.observe = 0
        message.opt.no_response = pipe.request.opt.no_response
        pipe.add_response(message, is_last=not observes)
        if observes:
            self._keep(_Observer(pipe, asked, sender, is_allowed, asyncio.get_running_loop().create_future()))
        if asked.block2 is not None and asked.block2.number > 0:
            return
        with contextlib.suppress(Refused):  # the answer has gone out
            await self._thread.run_in_turn(sender.tenant, self._note_arrival, sender, told)

    def find_observers(self, tenant: str, device_key: str) -> Sequence[_Observer]:
        """Return those who observe for a device and are not being notified; they are from now on."""
        found = self._observers.get((tenant, device_key), [])
        for observer in found:
            observer.is_due = True
        free = [observer for observer in found if not observer.is_busy]
        for observer in free:
            observer.is_busy = True
        return free

    async def notify(self, observer: _Observer) -> None:
        """Send what there is until the device has acknowledged the newest of it, or is gone."""
        try:
            while observer.is_due and not observer.is_gone:
                observer.is_due = False
                await self._notify_once(observer)
        except Refused:
            pass  # the database is away; the dispatcher comes again
        finally:
            observer.is_busy = False

    def close(self) -> None:
        """End the look-ups."""
        self._thread.close()

    async def _notify_once(self, observer: _Observer) -> None:
        if not await observer.is_allowed():
            observer.pipe.add_response(Message(code=NOT_LET_IN.code), is_last=True)
            return
        told = await self._thread.run_in_turn(observer.sender.tenant, self._load, observer.sender)
        if told is None or observer.is_gone:
            return
        observer.number = (observer.number + 1) % (1 << 24)
        observer.arrival = arrival = asyncio.get_running_loop().create_future()
        message = render(encode(self._matter.describe(told), observer.asked), observer.asked)
        message.opt.observe = observer.number
        message.transport_tuning = Confirmed(lambda: _settle(arrival, has_arrived=True))
        observer.pipe.add_response(message, is_last=False)
        if await arrival:
            await self._thread.run_in_turn(observer.sender.tenant, self._note_arrival, observer.sender, told)

    # --- The desk's thread

    def _load(self, sender: Sender) -> T | None:
        tenant = get_active_tenant(sender.tenant)
        if tenant is None:
            return None
        with tenant_context(tenant):
            return self._matter.load(sender)

    def _note_arrival(self, sender: Sender, told: T | None) -> None:
        """Write down that the device was there, and has been told this."""
        tenant = get_active_tenant(sender.tenant)
        if tenant is None:
            return
        with tenant_context(tenant):
            record_activity(seen={sender.device.id: put_on_database_clock(timezone.now())}, via=PROTOCOL)
            if told is not None:
                self._matter.note(told)

    # --- Observers

    def _has_room(self, sender: Sender) -> bool:
        total = sum(len(observers) for observers in self._observers.values())
        return total < MAX_OBSERVERS and len(self._observers.get(_key(sender), ())) < MAX_PER_DEVICE

    def _keep(self, observer: _Observer) -> None:
        self._observers.setdefault(_key(observer.sender), []).append(observer)
        observer.pipe.on_interest_end(lambda: self._forget(observer))

    def _forget(self, observer: _Observer) -> None:
        observer.is_gone = True
        _settle(observer.arrival, has_arrived=False)
        remaining = self._observers.get(_key(observer.sender), [])
        if observer in remaining:
            remaining.remove(observer)
        if not remaining:
            self._observers.pop(_key(observer.sender), None)


def _key(sender: Sender) -> tuple[str, str]:
    return sender.tenant, sender.device.key


def _settle(arrival: asyncio.Future[bool], *, has_arrived: bool) -> None:
    if not arrival.done():
        arrival.set_result(has_arrived)
