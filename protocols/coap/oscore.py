"""OSCORE (RFC 8613): requests that only their device can have made, answers that only it can read. The cryptography is aiocoap's.

What was received before a restart is not written down: the first request after it is answered with a challenge (4.01 with
Echo, §B.1.2), which proves that the request is fresh.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiocoap import CON, oscore
from aiocoap.error import RenderableError
from django.db import Error
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.oscore_keys import OscoreKeys
from devices.selectors import load_device_refs, load_oscore_credentials
from protocols.coap.gate import Sender
from protocols.coap.refusals import BAD_OPTION, BAD_REQUEST, METHOD_NOT_ALLOWED, UNAUTHORIZED, Refused
from protocols.coap.sequence import SequenceFile
from protocols.coap.threads import AnsweringThreads
from protocols.holding import is_databases_fault
from tenants.selectors import list_active_tenants

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 15  # a revoked key works no longer than this
UNKNOWN_SECONDS = 5
WINDOW_SIZE = 32
_OUTER_CRITICAL = {3, 7, 9}  # Uri-Host, Uri-Port, OSCORE
_FETCH_OR_POST = {2, 5}


class DeviceContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # no types
    """The platform's side of one device's security context."""

    alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
    hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]

    def __init__(self, keys: OscoreKeys, sequence: SequenceFile) -> None:
        self.sender_id, self.recipient_id = keys.server_id, keys.client_id
        self.id_context = keys.id_context or None
        self.derive_keys(keys.master_salt, keys.master_secret)
        self.recipient_replay_window = oscore.ReplayWindow(WINDOW_SIZE, lambda: None)
        self.echo_recovery = secrets.token_bytes(8)
        self._sequence = sequence
        self._reserved = range(0)
        self.sender_sequence_number = 0

    def new_sequence_number(self) -> int:
        if self.sender_sequence_number not in self._reserved:
            self._reserved = self._sequence.reserve()
            self.sender_sequence_number = self._reserved.start
        number: int = super().new_sequence_number()
        return number

    def post_seqnoincrease(self) -> None:
        """Nothing to store: the whole range was."""


@dataclass(slots=True)
class _Entry:
    sender: Sender
    keys: OscoreKeys
    context: DeviceContext | None = None


class OscoreDesk:
    """Finds the context of a request, and opens it."""

    def __init__(self, sequence: SequenceFile) -> None:
        self._sequence = sequence
        self._thread = AnsweringThreads("coap-oscore")
        self._entries: dict[UUID, _Entry] = {}
        self._by_client_id: dict[bytes, UUID] = {}
        self._loaded_at = float("-inf")
        self._lock = asyncio.Lock()

    async def open(self, pipe: Any) -> tuple["ProtectedPipe", Sender, UUID]:
        """Return the request inside, who sent it, and with which credential.

        Raises:
            Refused: nobody knows the key, or the request is not genuine.
            RenderableError: the challenge to a device that we have not heard since we started.
        """
        request = pipe.request
        if any(int(o.number) & 1 and int(o.number) not in _OUTER_CRITICAL for o in request.opt.option_list()):
            raise Refused("bad_option", code=BAD_OPTION)
        if int(request.code) not in _FETCH_OR_POST:
            raise Refused("not_allowed", code=METHOD_NOT_ALLOWED)
        try:
            credential, entry = await self._find(oscore.verify_start(request).get(oscore.COSE_KID, b""))
            if entry.context is None:
                entry.context = DeviceContext(entry.keys, self._sequence)
            inner, request_id = entry.context.unprotect(request)
        except RenderableError:
            raise
        except oscore.ReplayError as exc:
            raise Refused("replay", code=UNAUTHORIZED, max_age=0) from exc
        except oscore.DecodeError as exc:
            raise Refused("bad_option", code=BAD_OPTION) from exc
        except (oscore.ProtectionInvalid, oscore.NotAProtectedMessage, ValueError) as exc:
            raise Refused("not_genuine", code=BAD_REQUEST) from exc
        inner.remote, inner.mid, inner.mtype, inner.token = request.remote, request.mid, request.mtype, request.token
        return ProtectedPipe(pipe, inner, entry.context, request_id), entry.sender, credential

    async def is_valid(self, credential: UUID) -> bool:
        """Tell whether the credential still counts."""
        await self._refresh(REFRESH_SECONDS)
        return credential in self._entries

    def close(self) -> None:
        """End the look-ups."""
        self._thread.close()

    async def _find(self, client_id: bytes) -> tuple[UUID, _Entry]:
        await self._refresh(REFRESH_SECONDS if client_id in self._by_client_id else UNKNOWN_SECONDS)
        credential = self._by_client_id.get(client_id)
        if credential is None:
            raise Refused("unknown_key", code=UNAUTHORIZED, max_age=0)
        return credential, self._entries[credential]

    async def _refresh(self, seconds: float) -> None:
        async with self._lock:
            if time.monotonic() - self._loaded_at <= seconds:
                return
            loaded, failing = await self._thread.run(load_keys)
            kept = {credential: entry for credential, entry in self._entries.items() if entry.sender.tenant in failing}
            loaded |= {credential: (entry.sender, entry.keys) for credential, entry in kept.items()}
            # A context stays as long as its credential: it knows which requests were there before.
            for credential, (sender, keys) in loaded.items():
                known = self._entries.get(credential)
                loaded_entry = _Entry(sender, keys, known.context if known else None)
                self._entries[credential] = loaded_entry
            for credential in self._entries.keys() - loaded.keys():
                del self._entries[credential]
            self._by_client_id = {entry.keys.client_id: credential for credential, entry in self._entries.items()}
            self._loaded_at = time.monotonic()


def load_keys() -> tuple[dict[UUID, tuple[Sender, OscoreKeys]], frozenset[str]]:
    """Return all tenants' valid OSCORE credentials, and the tenants whose tables failed: what is known of them stays.

    Raises:
        django.db.Error: the database is away.
    """
    found, failing = {}, set()
    for tenant in list_active_tenants():
        try:
            with tenant_context(tenant):
                credentials = load_oscore_credentials(timezone.now())
                devices = load_device_refs({credential.device_key for credential in credentials})
        except Error as error:
            if is_databases_fault(error):
                raise
            failing.add(tenant.slug)
            continue
        for credential in credentials:
            if device := devices.get(credential.device_key):
                found[credential.credential_id] = (Sender(tenant.slug, device), credential.keys)
    return found, frozenset(failing)


class ProtectedPipe:
    """Takes the place of a pipe for the request inside; what is answered goes out protected."""

    def __init__(self, outer: Any, request: Any, context: DeviceContext, request_id: Any) -> None:
        self.request = request
        self._outer = outer
        self._context = context
        self._request_id = request_id

    def add_response(self, message: Any, is_last: bool = False) -> None:
        unwanted, message.opt.no_response = message.opt.no_response or 0, None
        is_unwanted = unwanted >> (message.code.class_ - 1) & 1
        observe = message.opt.observe
        protected, _ = self._context.protect(message, self._request_id)
        protected.opt.observe = observe
        protected.opt.no_response = 0b11111 if is_unwanted else None
        protected.transport_tuning = message.transport_tuning
        self._outer.add_response(protected, is_last=is_last)

    def on_interest_end(self, callback: Any) -> None:
        self._outer.on_interest_end(callback)


def is_answered(request: Any) -> bool:
    """Tell whether a failed protected request gets an answer: others would only help somebody who guesses (RFC 8613 §8.2)."""
    return bool(request.mtype is CON)
