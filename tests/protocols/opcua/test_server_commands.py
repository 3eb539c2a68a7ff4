"""Commands written to our OPC UA server: with the key's rights, to the tenant's own devices, and by asyncua's `uawrite`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError
from django_tenants.utils import tenant_context

from devices.models import Command, Device
from devices.services import save_device_type
from protocols.opcua.command_nodes import CommandInput, plan_inputs, read_payload
from protocols.opcua.identity import Identity
from tenants.models import ApiKey, Tenant
from tests.conftest import MakeDevice
from tests.protocols.opcua.test_server import client_identity, connected, issue_key, names_below, plant_node, running
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow
__all__ = ["client_identity"]

DECLARED: list[dict[str, Any]] = [
    {"name": "set_speed", "description": "Of the drive", "parameters": [{"name": "rpm", "type": "integer", "minimum": 0, "maximum": 3000}]},
    {"name": "stop"},
    {"name": "dose", "parameters": [{"name": "litres", "type": "number"}, {"name": "valve", "type": "text", "required": True}]},
]
V = ua.VariantType


@pytest.fixture
def pump(transactional_db: None, acme: Tenant, globex: Tenant, make_device: MakeDevice) -> Device:
    """The same device, which takes commands, in both tenants."""
    for tenant in (globex, acme):
        with tenant_context(tenant):
            pump = make_device("pump-7", protocol="coap")
            pump.device_type.commands = DECLARED
            save_device_type(device_type=pump.device_type)
    return pump


def commands(tenant: Tenant) -> list[tuple[str, Any, str]]:
    with tenant_context(tenant):
        return list(Command.objects.order_by("created_at").values_list("name", "payload", "created_by_name"))


async def status_of(node: Any, value: object, kind: ua.VariantType | None = None) -> str:
    try:
        await node.write_value(ua.Variant(value, kind) if kind else ua.Variant(value))
    except UaStatusCodeError as exc:
        return type(exc).__name__
    return "Good"


async def test_what_is_written_is_queued_as_a_command(
    pump: Device, acme: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    key = await sync_to_async(issue_key)(acme, "telemetry:read", "command:write")
    async with running(platform_identity) as server, connected(server, client_identity, "acme", key) as client:

        async def write(name: str, value: object, kind: ua.VariantType | None = None) -> str:
            return await status_of(await plant_node(client, f"acme/pump-7/@commands/{name}"), value, kind)

        assert sorted(await names_below(await plant_node(client, "acme/pump-7/@commands"))) == ["dose", "set_speed", "stop"]
        assert await write("set_speed", 1450, V.Int64) == "Good"
        assert await write("set_speed", 1451.0, V.Double) == "Good"
        assert await write("stop", True) == "Good"
        assert await write("dose", '{"valve": "V2", "litres": 2.5}') == "Good"
        assert await write("set_speed", 3001, V.Int64) == "BadOutOfRange"
        assert await write("set_speed", "fast") == "BadTypeMismatch"
        assert await write("stop", False) == "BadOutOfRange"
        assert await write("dose", "{}") == "BadOutOfRange"
        assert await status_of(await plant_node(client, "acme/pump-7/temperature"), 1.0) == "BadNotWritable"
        with pytest.raises(UaStatusCodeError, match="not allow"):
            await (await plant_node(client, "acme/pump-7/@commands/stop")).read_value()
        assert await sync_to_async(commands)(acme) == [
            ("set_speed", {"rpm": 1450}, "SCADA"),
            ("set_speed", {"rpm": 1451}, "SCADA"),
            ("stop", None, "SCADA"),
            ("dose", {"valve": "V2", "litres": 2.5}, "SCADA"),
        ]


async def test_only_a_key_that_may_command_writes_and_only_to_its_own_tenant(
    pump: Device, acme: Tenant, globex: Tenant, platform_identity: Identity, client_identity: Identity
) -> None:
    reader = await sync_to_async(issue_key)(acme, "telemetry:read")
    outsider = await sync_to_async(issue_key)(globex, "telemetry:read", "command:write")
    async with running(platform_identity) as server:
        async with connected(server, client_identity, "acme", reader) as client:
            node = await plant_node(client, "acme/pump-7/@commands/stop")
            assert await status_of(node, True) == "BadUserAccessDenied"
            await sync_to_async(lambda: ApiKey.objects.filter(tenant=acme).update(permissions=["telemetry:read", "command:write"]))()
            assert await status_of(node, True) == "Good"  # asked for at each command, as they are then
            await sync_to_async(lambda: ApiKey.objects.filter(tenant=acme).update(permissions=["telemetry:read"]))()
            assert await status_of(node, True) == "BadUserAccessDenied"
        async with connected(server, client_identity, "globex", outsider) as client:
            assert await status_of(await plant_node(client, "acme/pump-7/@commands/stop"), True) == "BadNodeIdUnknown"
            assert await status_of(await plant_node(client, "globex/pump-7/@commands/stop"), True) == "Good"
        assert [len(await sync_to_async(commands)(tenant)) for tenant in (acme, globex)] == [1, 1]


async def test_uawrite_sends_a_command(
    pump: Device, acme: Tenant, platform_identity: Identity, client_identity: Identity, tmp_path: Path
) -> None:
    key = await sync_to_async(issue_key)(acme, "telemetry:read", "command:write")
    (tmp_path / "cert.der").write_bytes(client_identity.certificate)
    (tmp_path / "key.pem").write_bytes(client_identity.private_key)
    async with running(platform_identity) as server:
        security = f"Basic256Sha256,SignAndEncrypt,{tmp_path}/cert.der,{tmp_path}/key.pem"
        login = ["-u", f"opc.tcp://127.0.0.1:{server.port}/iiot", "--security", security, "--user", "acme", "--password", key]
        node = ["-n", "ns=2;s=acme/pump-7/@commands/set_speed", "1450"]
        program = [str(Path(sys.executable).with_name("uawrite")), *login, *node]
        process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.PIPE)
        _, errors = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
        assert process.returncode == 0, errors.decode()
        assert await sync_to_async(commands)(acme) == [("set_speed", {"rpm": 1450}, "SCADA")]


NUMBER, TEXT = CommandInput("p", "c", "", "number", "x"), CommandInput("p", "c", "", "text", "x")


@pytest.mark.parametrize(
    ("command", "variant", "code"),
    [
        (NUMBER, None, StatusCodes.BadTypeMismatch),
        (NUMBER, ua.Variant([1.0, 2.0]), StatusCodes.BadTypeMismatch),
        (NUMBER, ua.Variant(True), StatusCodes.BadTypeMismatch),
        (NUMBER, ua.Variant(float("nan")), StatusCodes.BadOutOfRange),
        (CommandInput("p", "c", "", "integer", "x"), ua.Variant(1.5), StatusCodes.BadOutOfRange),
        (TEXT, ua.Variant(b"x"), StatusCodes.BadTypeMismatch),
        (TEXT, ua.Variant(None), StatusCodes.BadTypeMismatch),
        (CommandInput("p", "c", "", "text", is_document=True), ua.Variant("{" * 100), StatusCodes.BadOutOfRange),
        (CommandInput("p", "c", "", "text", is_document=True), ua.Variant("\ud800", V.String), StatusCodes.BadOutOfRange),
    ],
)
def test_what_is_no_payload_is_refused(command: CommandInput, variant: ua.Variant | None, code: int) -> None:
    with pytest.raises(ServiceError) as refusal:
        read_payload(command, variant)
    assert refusal.value.code == code


def test_inputs_follow_the_declared_parameters() -> None:
    assert [(i.name, i.kind, i.parameter, i.is_document) for i in plan_inputs("pump-7", DECLARED)] == [
        ("set_speed", "integer", "rpm", False),
        ("stop", "boolean", "", False),
        ("dose", "text", "", True),
    ]
    assert read_payload(TEXT, ua.Variant("go")) == {"x": "go"}
