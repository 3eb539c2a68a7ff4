"""Our OPC UA server as its clients see it: their tenant's values, and nothing of anybody else."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.uaerrors import UaStatusCodeError
from django.conf import LazySettings
from django.db import connections
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django import Settings

from devices.models import Device, Metric, Site
from protocols.opcua.identity import Identity, load_identity
from protocols.opcua.server import PlatformServer
from protocols.opcua.serving import ServerThread
from telemetry.services import store_readings
from telemetry.types import NewReading
from tenants.models import ApiKey, Tenant
from tenants.services import issue_api_key, revoke_api_key
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS, wait_until, wait_until_async

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)


@pytest.fixture(scope="session")
def client_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return load_identity(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="session")
def identities(platform_identity: Identity, client_identity: Identity) -> tuple[Identity, Identity]:
    return platform_identity, client_identity


def issue_key(tenant: Tenant, *permissions: str) -> str:
    return issue_api_key(tenant=tenant, name="SCADA", permissions=list(permissions), created_by=None).secret


def store(tenant: Tenant, device: Device, value: float, *, quality: int = 0, ts: datetime = NOW) -> None:
    with tenant_context(tenant):
        metric = Metric.objects.get(device_type=device.device_type, key="temperature")
        store_readings(readings=[NewReading(device.pk, metric.pk, ts, timezone.now(), value, None, quality)], now=timezone.now())


@pytest.fixture
def pumps(transactional_db: None, acme: Tenant, globex: Tenant, make_device: MakeDevice) -> dict[str, Device]:
    """The same device key in both tenants, with different values."""
    made = {}
    for tenant, value in ((acme, 21.5), (globex, 66.6)):
        with tenant_context(tenant):
            hall = Site.objects.create(name="Hall 1")
            made[tenant.slug] = make_device("pump-7", site=Site.objects.create(name="Line 2", parent=hall))
        store(tenant, made[tenant.slug], value)
    return made


@asynccontextmanager
async def running(identity: Identity) -> AsyncIterator[PlatformServer]:
    server = PlatformServer(identity, bind="127.0.0.1", port=0)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await sync_to_async(connections.close_all)()


@asynccontextmanager
async def connected(server: PlatformServer, identity: Identity, username: str, password: str) -> AsyncIterator[Client]:
    client = Client(f"opc.tcp://127.0.0.1:{server.port}/iiot", timeout=WAIT_SECONDS)
    client.application_uri = identity.application_uri
    await client.set_security(
        SecurityPolicyBasic256Sha256,
        certificate=CertProperties(identity.certificate, "der"),
        private_key=CertProperties(identity.private_key, "pem"),
    )
    client.set_user(username)
    client.set_password(password)
    async with client:
        yield client


async def plant_node(client: Client, identifier: str) -> Node:
    index = await client.get_namespace_index("urn:iiot-platform:plant")
    return client.get_node(ua.NodeId(ua.String(identifier), ua.Int16(index)))


async def names_below(node: Node) -> list[str]:
    return [str((await child.read_browse_name()).Name) for child in await node.get_children()]


async def test_a_client_walks_from_the_tenant_to_the_value(
    pumps: dict[str, Device], acme: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with running(platform_identity) as server, connected(server, client_identity, "acme", key) as client:
        index = await client.get_namespace_index("urn:iiot-platform:plant")
        path = [f"{index}:{name}" for name in ("IIoT", "acme", "Hall 1", "Line 2", "pump-7", "temperature")]
        node = await client.nodes.objects.get_child(path)
        data = await node.read_data_value()
        assert data.Value is not None
        assert (data.Value.Value, data.SourceTimestamp) == (21.5, NOW)
        assert await names_below(await plant_node(client, "IIoT")) == ["acme"]


async def test_an_outsider_cannot_browse_read_write_or_subscribe_to_another_tenants_node(
    pumps: dict[str, Device], acme: Tenant, globex: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    ours = await sync_to_async(issue_key)(acme, "telemetry:read")
    theirs = await sync_to_async(issue_key)(globex, "telemetry:read")
    async with (
        running(platform_identity) as server,
        connected(server, client_identity, "acme", ours) as owner,
        connected(server, client_identity, "globex", theirs) as outsider,
    ):
        assert await (await plant_node(owner, "acme/pump-7/temperature")).read_value() == 21.5
        for identifier in ("acme", "acme/pump-7", "acme/pump-7/temperature", "nobody"):
            foreign = await plant_node(outsider, identifier)
            for attempt in (foreign.read_display_name(), foreign.read_data_value()):
                with pytest.raises(UaStatusCodeError, match="does not exist"):
                    await attempt
            assert (await foreign.get_children(), await foreign.get_references()) == ([], [])
            with pytest.raises(UaStatusCodeError, match="does not exist"):
                await foreign.write_value(1.0)
            subscription = await outsider.create_subscription(500, _Heard())
            with pytest.raises(UaStatusCodeError, match="does not exist"):
                await subscription.subscribe_data_change(foreign)
        assert await names_below(await plant_node(outsider, "IIoT")) == ["globex"]
        index = await outsider.get_namespace_index("urn:iiot-platform:plant")
        with pytest.raises(UaStatusCodeError):
            await outsider.nodes.objects.get_child([f"{index}:IIoT", f"{index}:acme"])


async def test_an_outsider_cannot_use_another_sessions_subscription(
    pumps: dict[str, Device], acme: Tenant, globex: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    ours = await sync_to_async(issue_key)(acme, "telemetry:read")
    theirs = await sync_to_async(issue_key)(globex, "telemetry:read")
    async with (
        running(platform_identity) as server,
        connected(server, client_identity, "acme", ours) as owner,
        connected(server, client_identity, "globex", theirs) as outsider,
    ):
        subscription = await owner.create_subscription(500, _Heard())
        handle = await subscription.subscribe_data_change(await plant_node(owner, "acme/pump-7/temperature"))
        foreign = int(subscription.subscription_id or 0)
        session = outsider.uaclient.session
        [deleted] = await session.delete_subscriptions([foreign])
        [moved] = await session.transfer_subscriptions(ua.TransferSubscriptionsParameters([ua.IntegerId(foreign)]))
        assert not deleted.is_good()
        assert not moved.StatusCode.is_good()
        with pytest.raises(UaStatusCodeError):
            await session.delete_monitored_items(ua.DeleteMonitoredItemsParameters(ua.IntegerId(foreign), [ua.IntegerId(handle)]))
        with pytest.raises(UaStatusCodeError):
            await session.republish(foreign, 1)
        await subscription.unsubscribe(handle)


async def test_a_subscriber_hears_each_change_with_quality_and_source_time(
    pumps: dict[str, Device], acme: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with running(platform_identity) as server, connected(server, client_identity, "acme", key) as client:
        heard = _Heard()
        subscription = await client.create_subscription(100, heard)
        await subscription.subscribe_data_change(await plant_node(client, "acme/pump-7/temperature"))
        await heard.wait(lambda values: len(values) == 1)
        later = NOW + timedelta(seconds=1)
        await sync_to_async(store)(acme, pumps["acme"], 30.0, quality=1, ts=later)
        await heard.wait(lambda values: len(values) == 2)
        [first, second] = heard.values
        assert first.Value.Value == 21.5
        assert (second.Value.Value, second.SourceTimestamp, second.StatusCode.value >> 30) == (30.0, later, 1)


@pytest.mark.parametrize(
    ("username", "permissions", "is_let_in"),
    [
        ("acme", ("telemetry:read",), True),
        ("acme", ("*:read",), True),
        ("acme", ("device:read",), False),
        ("globex", ("telemetry:read",), False),
        ("", ("telemetry:read",), False),
    ],
)
async def test_a_login_is_the_tenant_and_a_key_that_may_read(
    pumps: dict[str, Device],
    acme: Tenant,
    identities: tuple[Identity, Identity],
    username: str,
    permissions: tuple[str, ...],
    is_let_in: bool,
) -> None:
    platform_identity, client_identity = identities
    key = await sync_to_async(issue_key)(acme, *permissions)
    async with running(platform_identity) as server:
        if is_let_in:
            async with connected(server, client_identity, username, key) as client:
                assert await (await plant_node(client, "acme/pump-7/temperature")).read_value() == 21.5
        else:
            with pytest.raises(UaStatusCodeError):
                async with connected(server, client_identity, username, key):
                    pass
        with pytest.raises(UaStatusCodeError):
            async with connected(server, client_identity, "acme", key + "x"):
                pass


async def test_without_security_nobody_logs_in(pumps: dict[str, Device], acme: Tenant, platform_identity: Identity) -> None:
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with running(platform_identity) as server:
        client = Client(f"opc.tcp://127.0.0.1:{server.port}/iiot", timeout=WAIT_SECONDS)
        assert {endpoint.SecurityMode.name for endpoint in await client.connect_and_get_server_endpoints()} == {"SignAndEncrypt"}
        client.set_user("acme")
        client.set_password(key)
        with pytest.raises((ua.uaerrors.UaError, UaStatusCodeError)):
            await client.connect()
        client.disconnect_socket()


async def ask_again_and_again(ask: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            await ask()
            await asyncio.sleep(0.1)


async def test_a_revoked_key_ends_its_session(
    pumps: dict[str, Device], acme: Tenant, platform_identity: Identity, client_identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.opcua.server.RELOAD_SECONDS", 0.5)
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with running(platform_identity) as server, connected(server, client_identity, "acme", key) as client:
        node = await plant_node(client, "acme/pump-7/temperature")
        assert await node.read_value() == 21.5
        await sync_to_async(lambda: revoke_api_key(key=ApiKey.objects.get()))()
        with pytest.raises((UaStatusCodeError, ConnectionError)):
            await ask_again_and_again(node.read_value)


async def test_anonymous_clients_are_let_in_where_the_installation_says_so(
    pumps: dict[str, Device], platform_identity: Identity, client_identity: Identity, settings: Settings
) -> None:
    settings.IIOT_OPCUA_ANONYMOUS_TENANT = "acme"
    async with running(platform_identity) as server:
        client = Client(f"opc.tcp://127.0.0.1:{server.port}/iiot", timeout=WAIT_SECONDS)
        client.application_uri = client_identity.application_uri
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            certificate=CertProperties(client_identity.certificate, "der"),
            private_key=CertProperties(client_identity.private_key, "pem"),
        )
        async with client:
            assert await (await plant_node(client, "acme/pump-7/temperature")).read_value() == 21.5
            with pytest.raises(UaStatusCodeError):
                await (await plant_node(client, "globex/pump-7/temperature")).read_value()


async def test_new_devices_appear_and_deleted_ones_go(
    pumps: dict[str, Device],
    acme: Tenant,
    platform_identity: Identity,
    client_identity: Identity,
    make_device: MakeDevice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protocols.opcua.server.RELOAD_SECONDS", 0.5)
    key = await sync_to_async(issue_key)(acme, "telemetry:read")

    def change() -> None:
        with tenant_context(acme):
            make_device("pump-8")
            Device.objects.get(key="pump-7").delete()

    async with running(platform_identity) as server, connected(server, client_identity, "acme", key) as client:
        assert await (await plant_node(client, "acme/pump-7/temperature")).read_value() == 21.5
        await sync_to_async(change)()
        gone = await plant_node(client, "acme/pump-7")
        with pytest.raises(UaStatusCodeError):
            await ask_again_and_again(gone.read_display_name)
        assert await names_below(await plant_node(client, "acme/pump-8")) == ["temperature"]


async def test_a_client_that_announces_a_huge_message_is_hung_up_on(transactional_db: None, platform_identity: Identity) -> None:
    async with running(platform_identity) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HELF" + (2**31 - 1).to_bytes(4, "little") + b"x" * 200_000)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), WAIT_SECONDS) == b""
        writer.close()


def test_it_says_that_its_port_is_taken_and_takes_it_once_it_is_free(
    transactional_db: None, platform_identity: Identity, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.opcua.serving.RETRY_SECONDS", 0.2)
    thread = ServerThread(platform_identity)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings.IIOT_OPCUA_PORT = other.getsockname()[1]
        thread.start()
        wait_until(lambda: "IIOT_OPCUA_PORT" in thread.last_error)
    wait_until(lambda: not thread.last_error)
    with socket.create_connection(("127.0.0.1", settings.IIOT_OPCUA_PORT), timeout=WAIT_SECONDS):
        pass
    thread.stop()


def test_a_server_that_does_not_start_says_why_and_is_tried_again(
    platform_identity: Identity, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def fail(server: PlatformServer) -> None:
        tried.append(server)
        raise RuntimeError("no luck")

    monkeypatch.setattr("protocols.opcua.serving.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(PlatformServer, "start", fail)
    settings.IIOT_OPCUA_PORT = 1
    thread = ServerThread(platform_identity)
    thread.start()
    wait_until(lambda: len(tried) > 1)
    thread.stop()
    assert "no luck" in thread.last_error


class _Heard:
    """Collects what a subscription tells."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def datachange_notification(self, node: Node, val: Any, data: Any) -> None:
        self.values.append(data.monitored_item.Value)

    async def wait(self, is_enough: Callable[[list[Any]], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not is_enough(self.values):
                await asyncio.sleep(0.05)


async def test_a_tenant_has_a_bound_of_monitored_items_over_all_its_sessions(
    pumps: dict[str, Device], acme: Tenant, platform_identity: Identity, client_identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.opcua.server_session.MAX_MONITORED_ITEMS", 3)
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with (
        running(platform_identity) as server,
        connected(server, client_identity, "acme", key) as first,
        connected(server, client_identity, "acme", key) as second,
    ):
        for client, count in ((first, 2), (second, 1)):
            node = await plant_node(client, "acme/pump-7/temperature")
            subscription = await client.create_subscription(500, _Heard())
            handles = await subscription.subscribe_data_change([node] * 2)
            assert isinstance(handles, list)
            assert sum(isinstance(handle, int) for handle in handles) == count


async def test_connections_that_nobody_logs_in_on_lock_nobody_out(
    acme: Tenant, platform_identity: Identity, client_identity: Identity, settings: LazySettings
) -> None:
    settings.IIOT_OPCUA_MAX_CLIENTS = 15
    key = await sync_to_async(issue_key)(acme, "telemetry:read")
    async with running(platform_identity) as server:
        strangers = [
            await asyncio.open_connection("127.0.0.1", server.port, local_addr=(f"127.0.0.{host}", 0)) for host in (2, 3) for _ in range(12)
        ]

        def count_refused() -> int:
            return sum(reader.at_eof() or reader._transport.is_closing() for reader, _ in strangers)  # type: ignore[attr-defined]

        await wait_until_async(lambda: count_refused() >= 4)  # two of each address
        async with connected(server, client_identity, "acme", key) as client:
            assert await names_below(await plant_node(client, "IIoT")) == ["acme"]
        for _, writer in strangers:
            writer.close()
