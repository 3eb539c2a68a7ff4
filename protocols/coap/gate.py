"""Who may come in: device tokens, looked up beside the event loop and remembered for some seconds.

A flood of wrong tokens waits in a queue of its own, so that it does not hold up the devices that were let in before.
"""

import asyncio
from dataclasses import dataclass

from cachetools import TTLCache
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.credential_formats import parse_device_token
from devices.services import authenticate_device_token
from devices.types import DeviceRef
from protocols.coap.refusals import SERVICE_UNAVAILABLE, Refused
from protocols.coap.threads import AnsweringThreads
from tenants.selectors import get_active_tenant

KNOWN_SECONDS = 15  # a revoked token works no longer than this
UNKNOWN_SECONDS = 5
REGULAR_SECONDS = 600
MAX_REMEMBERED = 20_000
MAX_WAITING = 500
LOOKUPS_AT_ONCE = 2  # of different tenants


@dataclass(frozen=True, slots=True)
class Sender:
    """A device that has proven who it is."""

    tenant: str
    device: DeviceRef


class Gate:
    """Used on the event loop; only `_look_up` runs in other threads."""

    def __init__(self) -> None:
        self._known: TTLCache[str, Sender] = TTLCache(MAX_REMEMBERED, KNOWN_SECONDS)
        self._unknown: TTLCache[str, None] = TTLCache(MAX_REMEMBERED, UNKNOWN_SECONDS)
        self._regulars: TTLCache[str, None] = TTLCache(MAX_REMEMBERED, REGULAR_SECONDS)
        self._waiting: dict[str, asyncio.Future[Sender | None]] = {}
        self._for_regulars = AnsweringThreads("coap-regulars", count=LOOKUPS_AT_ONCE)
        self._for_strangers = AnsweringThreads("coap-strangers", count=LOOKUPS_AT_ONCE)

    def recall(self, token: str) -> Sender | None:
        """Return the sender if the token was looked up a moment ago."""
        return self._known.get(token)

    async def identify(self, token: str) -> Sender | None:
        """Return the device that the token belongs to, or None.

        Raises:
            Refused: 5.03 where too many are waiting, or the database is away.
        """
        if token in self._unknown or parse_device_token(token) is None:
            return None
        known = self._known.get(token)
        if known is not None:
            return known
        waiting = self._waiting.get(token)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING and token not in self._regulars:
                raise Refused("busy", code=SERVICE_UNAVAILABLE, max_age=2)
            waiting = asyncio.ensure_future(self._find(token))
            self._waiting[token] = waiting
        return await asyncio.shield(waiting)

    async def _find(self, token: str) -> Sender | None:
        thread = self._for_regulars if token in self._regulars else self._for_strangers
        try:
            parts = parse_device_token(token)
            sender = await thread.run_in_turn(parts.tenant if parts else "", look_up, token)
        finally:
            self._waiting.pop(token, None)
        if sender is None:
            self._unknown[token] = None
            self._regulars.pop(token, None)
        else:
            self._known[token] = sender
            self._regulars[token] = None
        return sender

    def close(self) -> None:
        """End the threads and their connections."""
        self._for_regulars.close()
        self._for_strangers.close()


def look_up(token: str) -> Sender | None:
    """Ask the database whose token it is."""
    parts = parse_device_token(token)
    tenant = get_active_tenant(parts.tenant) if parts else None
    if tenant is None:
        return None
    with tenant_context(tenant):
        device = authenticate_device_token(token=token, now=timezone.now())
    return Sender(tenant.slug, device) if device else None
