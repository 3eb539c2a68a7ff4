"""A plant's OPC UA server: asyncua's, on its own loop in a thread, with nodes that a test writes."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server

from protocols.opcua.identity import Identity, load_identity
from tests.ports import free_port
from tests.waiting import WAIT_SECONDS

NAMESPACE = "http://plant.example/"
USERNAME, PASSWORD = "platform", "plant-secret"
T = TypeVar("T")


class PlantUsers:
    """Lets in one user by password, anybody anonymously."""

    def get_user(self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None) -> User | None:
        if username is None:
            return User(role=UserRole.User)
        return User(role=UserRole.User, name=username) if (username, password) == (USERNAME, PASSWORD) else None


class PlantServer:
    """Start, stop and write from the test's thread."""

    def __init__(self, folder: Path, *, port: int | None = None, is_secure: bool = True) -> None:
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}/plant"
        self.identity: Identity = load_identity(folder)
        self._is_secure = is_secure
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Server | None = None
        self._nodes: dict[str, Node] = {}
        self._prepared: dict[str, ua.DataValue] = {}

    def prepare(self, name: str, value: ua.DataValue) -> str:
        """Have a variable from the moment the server listens; return its node id as the platform keeps it."""
        self._prepared[name] = value
        return f"nsu={NAMESPACE};s={name}"

    @property
    def is_running(self) -> bool:
        return self._server is not None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=3 * WAIT_SECONDS)  # a server has some thousand nodes to make before it listens

    def start(self) -> "PlantServer":
        self.call(self._start())
        return self

    def stop(self) -> None:
        if self._server is not None:
            self.call(self._server.stop())
            self._server = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=WAIT_SECONDS)
        self._loop.close()

    def add(self, name: str, value: Any, kind: ua.VariantType | None = None) -> str:
        """Add a variable and return its node id as the platform keeps it."""
        self.call(self._add(name, value, kind))
        return f"nsu={NAMESPACE};s={name}"

    def add_writable(self, name: str, value: Any, kind: ua.VariantType | None = None) -> str:
        """Add a variable that clients may write."""
        node_id = self.add(name, value, kind)
        self.call(self._nodes[name].set_writable())
        return node_id

    def read(self, name: str) -> Any:
        return self.call(self._nodes[name].read_value())

    def write(self, name: str, value: ua.DataValue | Any, kind: ua.VariantType | None = None) -> None:
        data = value if isinstance(value, ua.DataValue) else ua.DataValue(ua.Variant(value, kind) if kind else ua.Variant(value))
        self.call(self._write(name, data))

    def run(self, make: Callable[[Server], Coroutine[Any, Any, T]]) -> T:
        assert self._server is not None
        return self.call(make(self._server))

    async def _start(self) -> None:
        server = self._server = Server(user_manager=PlantUsers())  # type: ignore[arg-type]  # only get_user is asked
        await server.init()
        server.iserver.aspace._is_expected_variant_type = lambda *_: True  # type: ignore[method-assign]  # a plant may change its mind
        server.set_endpoint(self.url)
        policies = [ua.SecurityPolicyType.NoSecurity]
        if self._is_secure:
            policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
            await server.load_certificate(self._folder / "certificate.der")
            await server.load_private_key(self._folder / "private_key.pem")
            await server.set_application_uri(self.identity.application_uri)
        server.set_security_policy(policies)
        await server.register_namespace(NAMESPACE)
        for name, value in self._prepared.items():
            await self._add(name, value, None)
        await server.start()

    async def _add(self, name: str, value: Any, kind: ua.VariantType | None) -> None:
        assert self._server is not None
        index = await self._server.get_namespace_index(NAMESPACE)
        first = value.Value.Value if isinstance(value, ua.DataValue) and value.Value is not None else value
        self._nodes[name] = await self._server.nodes.objects.add_variable(ua.NodeId(ua.String(name), ua.Int16(index)), name, first, kind)
        if isinstance(value, ua.DataValue):
            await self._write(name, value)

    async def _write(self, name: str, data: ua.DataValue) -> None:
        assert self._server is not None
        await self._server.write_attribute_value(self._nodes[name].nodeid, data)
