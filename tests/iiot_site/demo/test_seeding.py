"""The demo: there after one run, the same after the next, and its secrets work."""

import stat
from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.opcua_selectors import load_opcua_targets
from connections.selectors import load_modbus_targets
from devices.models import Device, DeviceCredential, Site
from devices.services import authenticate_device_token
from iiot_site.demo.demo_file import DemoFile, read_demo_file, write_demo_file
from iiot_site.demo.plant import DEVICE_TYPES, ROLES, RULES
from iiot_site.lib.broker_password import verify_broker_password
from protocols.opcua.identity import load_identity
from rules.models import Rule
from tenants.models import Tenant, User


@pytest.fixture
def path(settings: LazySettings, tmp_path: Path, db: None) -> Path:
    settings.IIOT_DATA_DIR = tmp_path
    return tmp_path / "demo.json"


def seed(path: Path) -> tuple[DemoFile, str]:
    output = StringIO()
    call_command("demo", stdout=output)
    content = read_demo_file(path)
    assert content is not None
    return content, output.getvalue()


def test_it_creates_people_plant_and_rules_in_both_tenants(path: Path, acme: Tenant) -> None:
    content, output = seed(path)
    assert set(content["tenants"]) == {"acme", "globex"}
    assert set(content["tenants"]["acme"]["users"]) == set(ROLES)
    with tenant_context(acme):
        assert Device.objects.count() == len(content["tenants"]["acme"]["devices"]) == 12
        assert Rule.objects.count() == len(RULES)
        assert Site.objects.get(name="Cooling water").parent == Site.objects.get(name="Utilities")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert content["platform_admin"]["password"] in output


def test_every_secret_works(path: Path, acme: Tenant) -> None:
    content, _ = seed(path)
    entry = content["tenants"]["acme"]["devices"][0]
    with tenant_context(acme):
        device = authenticate_device_token(token=entry["token"], now=timezone.now())
        assert device is not None
        assert str(device.uuid) == entry["id"]
        credential = DeviceCredential.objects.get(kind="mqtt", device__key=entry["key"])
        assert credential.identifier == entry["username"]
        assert verify_broker_password(entry["password"], credential.secret_hash)
    for role, login in content["tenants"]["acme"]["users"].items():
        user = User.objects.get(email=login["email"])
        assert user.check_password(login["password"])
        assert [r.name for r in user.memberships.get(tenant=acme).roles.all()] == [role]
    assert User.objects.get(email=content["platform_admin"]["email"]).is_platform_admin


def test_devices_that_nobody_drives_come_first(path: Path) -> None:
    content, _ = seed(path)
    for tenant in content["tenants"].values():
        driven = [entry["simulated"] for entry in tenant["devices"]]
        assert driven == sorted(driven)
        assert driven.count(False) == 1


def test_a_second_run_changes_and_prints_nothing(path: Path) -> None:
    first, _ = seed(path)
    written = path.stat().st_mtime_ns
    assert seed(path) == (first, "")
    assert path.stat().st_mtime_ns == written


def test_an_older_demo_is_completed_and_keeps_its_secrets(path: Path, acme: Tenant) -> None:
    first, _ = seed(path)
    older: DemoFile = {**first, "version": 0}
    write_demo_file(path, older)
    with tenant_context(acme):
        Device.objects.get(key="tank-3").delete()
    again, _ = seed(path)
    before = {entry["key"]: entry for entry in first["tenants"]["acme"]["devices"]}
    after = {entry["key"]: entry for entry in again["tenants"]["acme"]["devices"]}
    assert {key for key in after if after[key] != before[key]} == {"tank-3"}
    assert again["tenants"]["acme"]["users"] == first["tenants"]["acme"]["users"]


def test_it_connects_machines_that_the_platform_calls_and_follows_them_to_other_ports(
    path: Path, acme: Tenant, settings: LazySettings
) -> None:
    settings.IIOT_DEMO_OPCUA_PORT, settings.IIOT_DEMO_MODBUS_PORT = 21_001, 21_002
    content, _ = seed(path)
    assert content["plant"] == {"opcua": 21_001, "modbus": 21_002}
    assert {entry["protocol"] for entry in content["tenants"]["globex"]["devices"]} == {"mqtt", "http", "coap", "amqp", "opcua", "modbus"}
    settings.IIOT_DEMO_OPCUA_PORT, settings.IIOT_DEMO_MODBUS_PORT = 21_003, 21_004
    seed(path)
    with tenant_context(acme):
        [server] = load_opcua_targets()
        [machine] = load_modbus_targets()
    identity = load_identity(path.parent / "demo-plant")
    assert (server.endpoint_url, server.trusted_certificate) == ("opc.tcp://127.0.0.1:21003", identity.certificate)
    assert {(node.device, node.metric) for node in server.nodes} == {("furnace-2", m.key) for m in DEVICE_TYPES["Furnace"]}
    assert (machine.device, machine.port) == ("compressor-2", 21_004)
    assert {register.metric for register in machine.registers} == {metric.key for metric in DEVICE_TYPES["Compressor"]}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"tenants": {}}'])
def test_a_lost_or_damaged_file_gets_new_secrets_and_ends_the_old_ones(path: Path, acme: Tenant, damage: str) -> None:
    first, _ = seed(path)
    path.write_text(damage)
    again, _ = seed(path)
    old, new = first["tenants"]["acme"]["devices"][0], again["tenants"]["acme"]["devices"][0]
    assert old["id"] == new["id"]
    with tenant_context(acme):
        assert authenticate_device_token(token=old["token"], now=timezone.now()) is None
        assert authenticate_device_token(token=new["token"], now=timezone.now()) is not None
    assert not User.objects.get(email="admin@acme.example").check_password(first["tenants"]["acme"]["users"]["admin"]["password"])
