import pytest
from django.test import Client
from django.urls import reverse
from django_tenants.utils import tenant_context

from connections.models import ModbusConnection, ModbusRegister
from devices.models import Device
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice


@pytest.fixture
def plc(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device("plc-7")


@pytest.fixture
def developer(browser: MakeBrowser, acme_developer: User) -> Client:
    return browser(acme_developer)


def test_a_developer_connects_a_device_in_the_admin(developer: Client, plc: Device, acme: Tenant) -> None:
    form = {"device": plc.pk, "host": "10.0.4.17", "port": 502, "unit_id": 1, "poll_interval": "1", "timeout": "3", "is_enabled": "on"}
    path = "/t/acme" + reverse("admin:connections_modbusconnection_add")
    assert developer.get(path).status_code == 200
    assert developer.post(path, {**form, "host": "127.0.0.1"}).status_code == 200  # shown again with its error
    assert developer.post(path, form).status_code == 302
    with tenant_context(acme):
        connection = ModbusConnection.objects.get()
    assert connection.host == "10.0.4.17"
    page = developer.get("/t/acme" + reverse("admin:connections_modbusconnection_changelist"))
    assert b"10.0.4.17" in page.content


def test_a_register_map_is_written_inside_its_type_in_the_admin(developer: Client, plc: Device, acme: Tenant) -> None:
    path = "/t/acme" + reverse("admin:connections_modbusregistermap_change", args=[plc.device_type_id])
    assert developer.get(path).status_code == 200
    row = {"metric": "temperature", "table": "holding", "address": 4, "data_type": "int16", "length": 1, "word_order": "big"}
    prefix = "modbus_registers"
    form = {f"{prefix}-TOTAL_FORMS": 1, f"{prefix}-INITIAL_FORMS": 0, **{f"{prefix}-0-{key}": value for key, value in row.items()}}
    form |= {f"{prefix}-0-scale": 0.1, f"{prefix}-0-offset": 0, f"{prefix}-0-bit": ""}
    response = developer.post(path, form)
    assert response.status_code == 302, response.content.decode()[:3000]
    with tenant_context(acme):
        register = ModbusRegister.objects.get()
    assert (register.metric, register.address, register.scale, register.device_type_id) == ("temperature", 4, 0.1, plc.device_type_id)


def test_a_viewer_looks_and_changes_nothing(browser: MakeBrowser, acme_viewer: User, plc: Device, globex_admin: User) -> None:
    path = "/t/acme" + reverse("admin:connections_modbusconnection_add")
    assert browser(acme_viewer).get(path).status_code == 403
    assert browser(acme_viewer).get("/t/acme" + reverse("admin:connections_modbusregistermap_changelist")).status_code == 200
    assert browser(globex_admin).get(path).status_code == 404
