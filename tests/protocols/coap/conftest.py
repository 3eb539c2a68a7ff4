"""A listener that runs in this process, and real clients: aiocoap's, and a bare socket."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiocoap import GET, POST, Context, Message
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DeviceCredential
from devices.services import issue_credential
from protocols.coap.address import CoapAddress
from protocols.coap.listener import CoapListener
from telemetry.models import Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.running import running
from tests.waiting import WAIT_SECONDS


def values(tenant: Tenant) -> list[float]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("ts").values_list("value", flat=True))


class Client:
    """aiocoap's client, with an event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.kept: list[Any] = []  # aiocoap ends an observation that nobody holds
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.context = self.wait(Context.create_client_context(transports=["oscore", "udp6"]))

    def wait(self, work: Coroutine[Any, Any, Any], *, seconds: float = WAIT_SECONDS) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def request(self, code: Any, url: str, payload: bytes | str = b"", *, seconds: float = WAIT_SECONDS, **options: Any) -> Any:
        """Send a request, block-wise if it is large, and return the response."""
        body = payload.encode() if isinstance(payload, str) else payload

        async def ask() -> Any:
            return await self.context.request(Message(code=code, uri=url, payload=body, **options)).response

        return self.wait(ask(), seconds=seconds)

    def post(self, url: str, payload: bytes | str, **options: Any) -> Any:
        return self.request(POST, url, payload, **options)

    def close(self) -> None:
        self.wait(self.context.shutdown())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_SECONDS)
        self.loop.close()


def address(listener: Any, token: str, path: str = "latest") -> str:
    return f"coap://127.0.0.1:{listener.port}/{path}?token={token}"


def observe(client: Client, url: str, seen: list[Any]) -> None:
    """Append the answer and all notifications to `seen`, until the client is closed."""

    async def ask() -> Any:
        request = client.context.request(Message(code=GET, uri=url, observe=0))
        seen.append(await request.response)
        return request

    async def follow(request: Any) -> None:
        async for notification in request.observation:
            seen.append(notification)  # noqa: PERF401 - seen while it goes on

    client.kept.append(client.wait(ask()))
    asyncio.run_coroutine_threadsafe(follow(client.kept[-1]), client.loop)


def protect(client: Client, port: int, keys: dict[str, str], folder: Path) -> str:
    """Let the client speak OSCORE with this server; return the server's address."""
    folder.mkdir(exist_ok=True)
    settings = {
        "sender-id_hex": keys["client_id"],
        "recipient-id_hex": keys["server_id"],
        "secret_hex": keys["master_secret"],
        "salt_hex": keys["master_salt"],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    client.context.client_credentials.load_from_dict({f"coap://127.0.0.1:{port}/*": {"oscore": {"basedir": str(folder)}}})
    return f"coap://127.0.0.1:{port}"


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


class Wire:
    """A socket that sends any datagram."""

    def __init__(self, port: int, *, seconds: float = WAIT_SECONDS) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(seconds)
        self._socket.connect(("127.0.0.1", port))

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def receive(self) -> bytes | None:
        """Return the next datagram, None where none comes in time."""
        try:
            return self._socket.recv(4_096)
        except TimeoutError:
            return None

    def ask(self, datagram: bytes) -> bytes | None:
        self.send(datagram)
        return self.receive()

    def close(self) -> None:
        self._socket.close()


def post_datagram(token: str, payload: bytes, *, mid: int, confirmable: bool = True, tail: bytes = b"") -> bytes:
    """Return `POST /t?k=<token>` as bytes; `tail` are options behind Uri-Query (15)."""
    query = f"k={token}".encode()
    options = b"\xb1t" + bytes([0x4D, len(query) - 13]) + query + tail
    return struct.pack("!BBH", 0x42 if confirmable else 0x52, 0x02, mid) + b"\xaa\xbb" + options + b"\xff" + payload


@pytest.fixture
def token(acme: Tenant, make_device: MakeDevice) -> str:
    """The token of acme's pump-7."""
    with tenant_context(acme):
        return issue_token(make_device("pump-7"))


def issue_token(device: Any) -> str:
    """Return a new token of a device of the current tenant."""
    return issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret


RunListener = Callable[..., AbstractContextManager[CoapListener]]


@pytest.fixture
def run_listener(transactional_db: None, tmp_path: Path) -> RunListener:
    """Return a context in which a listener runs; leaving it stops the listener as SIGTERM would."""

    @contextmanager
    def run(*, port: int = 0) -> Iterator[CoapListener]:
        ready_file = tmp_path / "ready"
        ready_file.unlink(missing_ok=True)
        with running(
            CoapListener(CoapAddress("127.0.0.1", port), sequence_path=tmp_path / "oscore" / "sequence", ready_file=ready_file),
            ready_file=ready_file,
        ) as listener:
            yield listener

    return run
