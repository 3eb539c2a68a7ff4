"""The page of a device that the platform reads: its connection, and no way to tell it anything."""

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.models import ModbusConnection
from connections.opcua_models import OpcUaNode, OpcUaServer
from devices.models import Device
from devices.services import issue_credential
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice


@pytest.fixture
def operator(browser: MakeBrowser, acme_operator: User) -> Client:
    return browser(acme_operator)


def open_page(browser: Client, device: Device) -> str:
    return browser.get(f"/t/acme/devices/{device.uuid}").content.decode()


def test_a_modbus_device_shows_its_connection_and_takes_no_command(operator: Client, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        pump = make_device("compressor-2", protocol="modbus")
        issue_credential(device=pump, kind="mqtt", now=timezone.now())  # the demo gives one to every device
        ModbusConnection.objects.create(
            device=pump, host="10.0.4.17", port=5020, unit_id=3, state="failing", last_error="nobody listens there", state_at=timezone.now()
        )
    page = open_page(operator, pump)
    assert "How this device is read" in page
    for expected in ("10.0.4.17:5020, unit 3", "nobody listens there", "Not connected", "The platform only reads devices over Modbus"):
        assert expected in page
    for absent in ("mosquitto_pub", "curl ", "Nothing can send in this device", "device-command-send", "commands/send"):
        assert absent not in page
    part = operator.get(f"/t/acme/devices/{pump.uuid}/connection").content.decode()
    assert "10.0.4.17:5020, unit 3" in part
    sent = operator.post(f"/t/acme/devices/{pump.uuid}/commands/send", {"name": "stop", "payload": "", "lifetime_seconds": "86400"})
    with tenant_context(acme):
        assert (sent.status_code, pump.commands.count()) == (200, 0)


def test_an_opcua_device_leads_to_its_server_and_says_what_is_not_mapped(operator: Client, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        furnace = make_device("furnace-2", protocol="opcua")
        server = OpcUaServer.objects.create(name="Furnace line", endpoint_url="opc.tcp://10.0.4.17:4840", state="connected")
        OpcUaNode.objects.create(server=server, device=furnace, metric="temperature", node_id="ns=2;i=1", problem="BadNodeIdUnknown")
        OpcUaNode.objects.create(server=server, device=make_device("other"), metric="temperature", node_id="ns=2;i=2")
    page = open_page(operator, furnace)
    assert f"/t/acme/opcua/{server.uuid}" in page
    for expected in ("Furnace line", "opc.tcp://10.0.4.17:4840", "1 without values", "each fails at once"):
        assert expected in page
    assert "mosquitto_pub" not in page


def test_a_device_to_be_read_without_a_connection_says_so(operator: Client, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        pump = make_device("lonely", protocol="modbus")
    assert "No connection yet" in open_page(operator, pump)


def test_a_device_that_sends_is_told_how(operator: Client, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        pump = make_device("speaks", protocol="mqtt")
    page = open_page(operator, pump)
    assert "How this device sends" in page
    assert "curl " in page
    assert "How this device is read" not in page
