"""Our OPC UA server: each tenant's devices and metrics with their latest values, for those who log in with its API key.

A tenant's nodes stand only while somebody of it is logged in. What the database holds is read by a few threads; the
server's loop itself never waits for it, but for the moment of a login.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime, timedelta
from typing import Any

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User
from asyncua.server.internal_server import InternalServer
from asyncua.ua.status_codes import StatusCodes
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from protocols.database_threads import DatabaseThreads
from protocols.opcua.address_space import PlantAddressSpace
from protocols.opcua.bounded_server import CHUNK_BYTES, MAX_MESSAGE_BYTES, BoundedServer
from protocols.opcua.command_nodes import CommandInput
from protocols.opcua.command_writing import queue_written
from protocols.opcua.identity import APPLICATION_NAME, Identity
from protocols.opcua.plant_reading import TenantUser, authenticate, find_ended_keys, load_plan, load_values
from protocols.opcua.server_session import TenantSession
from protocols.opcua.tree import NAMESPACE

logger = logging.getLogger(__name__)

STRANGER_SECONDS = 10.0  # from connecting to a session that is logged in
LOGIN_SECONDS = 3.0
REFRESH_SECONDS = 1.0
THREADS = 2
RELOAD_SECONDS = 15.0
OVERLAP = timedelta(seconds=10)  # a value may be committed some seconds after it was received


class TenantInternalServer(InternalServer):
    """asyncua's server with sessions that keep to their tenant, and nothing that strangers could write."""

    def __init__(self, reader: DatabaseThreads) -> None:
        super().__init__(user_manager=_KeyUsers(reader))  # type: ignore[arg-type]  # only get_user is asked
        self.tenant_sessions: set[TenantSession] = set()
        self.plant_index = -1
        self.prepare: Callable[[User], Any] = _prepare_nothing
        self.find_command: Callable[[User, str], CommandInput | None] = lambda _user, _node: None
        self.queue_command: Callable[[User, CommandInput, Any], Any] = _queue_nothing
        self.max_connections = settings.IIOT_OPCUA_MAX_CLIENTS
        self.max_pending_activation_seconds = STRANGER_SECONDS
        self.max_monitored_item_queue_size = 1_000
        self.allow_remote_admin = False
        self.supported_tokens = (ua.UserNameIdentityToken,)  # type: ignore[assignment]  # as Server.set_identity_tokens sets it
        if settings.IIOT_OPCUA_ANONYMOUS_TENANT:
            self.supported_tokens = (ua.UserNameIdentityToken, ua.AnonymousIdentityToken)  # type: ignore[assignment]  # as above

    def create_session(self, name: str, user: User | None = None, external: bool = False) -> TenantSession:
        return TenantSession(self, self.aspace, self.subscription_service, name, user=user or User(), external=external)

    def decrypt_user_token(self, isession: Any, token: ua.UserNameIdentityToken) -> tuple[str, str]:
        if token.EncryptionAlgorithm and str(token.EncryptionAlgorithm).endswith("rsa-1_5"):
            raise ValueError("PKCS #1 v1.5 would tell strangers how their guesses decrypt")
        return super().decrypt_user_token(isession, token)

    def register_server(self, server: Any, conf: Any = None) -> None:
        raise ServiceError(StatusCodes.BadServiceUnsupported)


class _KeyUsers:
    """Asks the database whose key it is; the server's loop waits for the answer, three seconds at most."""

    def __init__(self, reader: DatabaseThreads) -> None:
        self._reader = reader

    def get_user(self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None) -> User | None:
        try:
            return self._reader.submit(authenticate, username, password).result(timeout=LOGIN_SECONDS)
        except (FutureTimeoutError, DatabaseError, InterfaceError) as exc:
            logger.warning("nobody could be asked who logs in: %s", exc)
            return None


class PlatformServer:
    """Starts, follows the database once a second, stops. All methods are coroutines of one loop."""

    def __init__(self, identity: Identity, *, bind: str, port: int) -> None:
        self._identity = identity
        self._reader = DatabaseThreads("opcua-reads", count=THREADS)
        self._internal = TenantInternalServer(self._reader)
        self._internal.prepare = self._prepare
        self._internal.find_command = self._find_command
        self._internal.queue_command = self._queue_command
        self._server = BoundedServer(iserver=self._internal)
        self._bind, self._port = bind, port
        self._locks: dict[str, asyncio.Lock] = {}
        self._loaded_at: dict[str, float] = {}
        self._values_until: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None
        self._space: PlantAddressSpace

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._server.bserver.port if self._server.bserver else self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        server = self._server
        server.limits = TransportLimits(CHUNK_BYTES, CHUNK_BYTES, math.ceil(MAX_MESSAGE_BYTES / 1024), MAX_MESSAGE_BYTES)
        await server.init()
        server.name = server.manufacturer_name = APPLICATION_NAME
        server.product_uri = "urn:iiot-platform"
        server.set_endpoint(f"opc.tcp://{self._bind}:{self._port}/iiot")
        await server.set_application_uri(self._identity.application_uri)
        await server.load_certificate(self._identity.certificate, "der")
        await server.load_private_key(self._identity.private_key, format="pem")
        server.set_security_policy(
            [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt, ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt]
        )
        self._internal.plant_index = await server.register_namespace(NAMESPACE)
        self._space = PlantAddressSpace(self._internal, self._internal.plant_index)
        await self._space.make_root()
        await server.start()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Close all sessions and the port."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._server.bserver is not None:
            await self._server.stop()
        await asyncio.to_thread(self._reader.close)

    # --- Following the database

    async def _follow(self) -> None:
        ended_at = 0.0
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                if time.monotonic() - ended_at > RELOAD_SECONDS:
                    ended_at = time.monotonic()
                    await self._end_sessions()
                users = {
                    session.user.slug: session.user for session in self._internal.tenant_sessions if isinstance(session.user, TenantUser)
                }
                for slug in set(self._space.trees) - users.keys():
                    await self._forget(slug)
                for user in users.values():
                    await self._try_to_refresh(user)
            except Exception:  # the server's loop: whatever it was, the next second may do better
                logger.exception("the OPC UA server could not follow the database for the moment")

    async def _try_to_refresh(self, user: TenantUser) -> None:
        try:
            await self._refresh(user)
        except Exception:  # the server's loop: one tenant's trouble is not another's
            logger.exception("the nodes of %s could not be brought up to date for the moment", user.slug)

    async def _prepare(self, user: User) -> None:
        """Make a tenant's nodes before the first look at them."""
        if isinstance(user, TenantUser) and user.slug not in self._loaded_at:
            try:
                await self._refresh(user)
            except (DatabaseError, InterfaceError) as exc:
                raise ServiceError(StatusCodes.BadResourceUnavailable) from exc

    def _find_command(self, user: User, node_id: str) -> CommandInput | None:
        return self._space.find_command(user.slug, node_id) if isinstance(user, TenantUser) else None

    async def _queue_command(self, user: User, command: CommandInput, payload: Any) -> int:
        """Queue a command that was written; return its status code."""
        if not isinstance(user, TenantUser):
            return int(StatusCodes.BadUserAccessDenied)
        try:
            return await self._reader.run(queue_written, user=user, command=command, payload=payload)
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("a command could not be queued: %s", exc)
            return int(StatusCodes.BadResourceUnavailable)

    async def _refresh(self, user: TenantUser) -> None:
        slug = user.slug
        async with self._locks.setdefault(slug, asyncio.Lock()):
            since: datetime | None = self._values_until.get(slug)
            if time.monotonic() - self._loaded_at.get(slug, -math.inf) > RELOAD_SECONDS:
                await self._space.replace_plan(slug, await self._reader.run(load_plan, user.schema, slug))
                since = None
            until = timezone.now() - OVERLAP
            await self._space.show_values(slug, await self._reader.run(load_values, user.schema, slug, since=since))
            self._values_until[slug] = until
            if since is None:
                self._loaded_at[slug] = time.monotonic()

    async def _forget(self, slug: str) -> None:
        async with self._locks.setdefault(slug, asyncio.Lock()):
            self._loaded_at.pop(slug, None)
            self._values_until.pop(slug, None)
            await self._space.drop(slug)

    def _users(self) -> dict[TenantSession, TenantUser]:
        return {session: user for session in self._internal.tenant_sessions if isinstance(user := session.user, TenantUser)}

    async def _end_sessions(self) -> None:
        """End the sessions whose key is good no longer."""
        sessions = {session: user.key_id for session, user in self._users().items()}
        key_ids = [key_id for key_id in sessions.values() if key_id]
        ended = await self._reader.run(find_ended_keys, key_ids) if key_ids else set()
        for session, key_id in sessions.items():
            if key_id in ended:
                await session.close_session()


async def _queue_nothing(_user: User, _command: CommandInput, _payload: Any) -> int:
    """Stand in until the address space is there."""
    return int(StatusCodes.BadNotWritable)


async def _prepare_nothing(_user: User) -> None:
    """Stand in until the address space is there."""
