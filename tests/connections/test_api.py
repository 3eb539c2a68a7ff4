from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from connections import services
from connections.models import ModbusConnection, ModbusRegister
from connections.selectors import load_modbus_targets
from connections.types import ConnectionReport
from devices.models import DeviceType
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice

API = "/api/v1/protocols"


@pytest.fixture
def developer(api: MakeApi, acme: Tenant, acme_developer: User) -> APIClient:
    return api(acme_developer, acme)


@pytest.fixture
def ids(acme: Tenant, make_device: MakeDevice) -> dict[str, str]:
    with tenant_context(acme):
        device = make_device("plc-7")
        return {"device": str(device.uuid), "device_type": str(device.device_type.uuid)}


def test_a_device_is_connected_and_its_registers_are_named_through_the_api(developer: APIClient, ids: dict[str, str], acme: Tenant) -> None:
    made = developer.post(f"{API}/modbus-connections", {"device": ids["device"], "host": "10.0.4.17", "poll_interval_seconds": 0.5})
    assert made.status_code == 201, made.content
    entry = {"device_type": ids["device_type"], "metric": "temperature", "address": 2, "data_type": "float32", "word_order": "little"}
    assert developer.post(f"{API}/modbus-registers", entry).status_code == 201

    with tenant_context(acme):
        [target] = load_modbus_targets()
    assert (target.device, target.host, target.port, target.unit_id, target.interval_seconds) == ("plc-7", "10.0.4.17", 502, 1, 0.5)
    [spec] = target.registers
    assert (spec.metric, spec.table, spec.address, spec.width, spec.is_little_word_order) == ("temperature", "holding", 2, 2, True)

    changed = developer.patch(f"{API}/modbus-connections/{made.json()['id']}", {"is_enabled": False})
    assert changed.json()["is_enabled"] is False
    with tenant_context(acme):
        assert load_modbus_targets() == []
    assert developer.delete(f"{API}/modbus-connections/{made.json()['id']}").status_code == 204


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"table": "coil", "data_type": "int16"}, "data_type"),
        ({"data_type": "int16", "bit": 3}, "bit"),
        ({"table": "coil", "data_type": "bool", "bit": 3}, "bit"),
        ({"data_type": "bool", "bit": 16}, "bit"),
        ({"address": 65_535, "data_type": "float32"}, "address"),
        ({"address": 65_536}, "address"),
        ({"data_type": "string", "length": 126}, "length"),
        ({"scale": 0}, "scale"),
        ({"scale": "nan"}, "scale"),
        ({"offset": "-inf"}, "offset"),
        ({"metric": "ä b"}, "metric"),
    ],
)
def test_a_register_that_cannot_be_is_refused_with_its_field(
    developer: APIClient, ids: dict[str, str], entry: dict[str, Any], field: str
) -> None:
    response = developer.post(
        f"{API}/modbus-registers", {"device_type": ids["device_type"], "metric": "temperature", "address": 0, **entry}
    )
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"host": "127.0.0.1"}, "host"),
        ({"host": "169.254.169.254"}, "host"),
        ({"host": "::ffff:127.0.0.1"}, "host"),
        ({"host": "127.1"}, "host"),
        ({"host": "0x7f000001"}, "host"),
        ({"host": "LocalHost."}, "host"),
        ({"host": "plc.localhost"}, "host"),
        ({"host": "8.8.8.8"}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "http://plc"}, "host"),
        ({"port": 0}, "port"),
        ({"unit_id": 256}, "unit_id"),
        ({"poll_interval_seconds": 0.05}, "poll_interval_seconds"),
        ({"timeout_seconds": 31}, "timeout_seconds"),
        ({"state": "connected"}, "state"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_its_field(
    developer: APIClient, ids: dict[str, str], wrong: dict[str, Any], field: str
) -> None:
    response = developer.post(f"{API}/modbus-connections", {"device": ids["device"], "host": "10.0.4.17", **wrong})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]


def test_an_address_with_one_open_port_is_refused_with_another(developer: APIClient, ids: dict[str, str], settings: Settings) -> None:
    settings.IIOT_PLANT_NETWORKS = ["127.0.0.1:5020"]  # as the demo opens its own machines' ports
    body = {"device": ids["device"], "host": "127.0.0.1"}
    refused = developer.post(f"{API}/modbus-connections", {**body, "port": 5021})
    assert "outside the plant's networks" in refused.json()["errors"]["host"][0]
    made = developer.post(f"{API}/modbus-connections", {**body, "port": 5020})
    assert made.status_code == 201
    moved = developer.patch(f"{API}/modbus-connections/{made.json()['id']}", {"port": 502})
    assert (moved.status_code, list(moved.json()["errors"])) == (400, ["host"])


def test_a_connection_says_at_once_that_the_register_map_is_missing(developer: APIClient, ids: dict[str, str]) -> None:
    made = developer.post(f"{API}/modbus-connections", {"device": ids["device"], "host": "10.0.4.17"}).json()
    assert made["state"] == "waiting"
    assert "has no register map" in made["last_error"]
    assert "modbus-registers" in made["last_error"]


def test_a_device_has_one_connection(developer: APIClient, ids: dict[str, str]) -> None:
    body = {"device": ids["device"], "host": "plc-7.plant.example"}
    assert developer.post(f"{API}/modbus-connections", body).status_code == 201
    assert developer.post(f"{API}/modbus-connections", body).status_code == 400


def test_a_tenant_has_no_more_connections_than_it_may(developer: APIClient, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_CONNECTIONS", 0)
    monkeypatch.setattr(services, "MAX_REGISTERS_PER_TYPE", 0)
    refused = developer.post(f"{API}/modbus-connections", {"device": ids["device"], "host": "10.0.4.17"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_connections")
    refused = developer.post(f"{API}/modbus-registers", {"device_type": ids["device_type"], "metric": "a", "address": 0})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_connections")


def test_the_state_is_written_apart_from_the_settings(in_acme: Tenant, make_device: MakeDevice) -> None:
    now = timezone.now()
    first, second = (ModbusConnection.objects.create(device=make_device(key), host="10.0.4.17") for key in ("plc-1", "plc-2"))
    services.record_modbus_states(
        reports=[ConnectionReport(first.id, "connected", "", now), ConnectionReport(second.id, "failing", "x" * 400, None)], now=now
    )
    later = now + timedelta(seconds=9)
    services.record_modbus_states(
        reports=[ConnectionReport(first.id, "connected", "", later), ConnectionReport(second.id, "waiting", "", None)], now=later
    )
    first.host = "10.0.4.18"
    services.save_modbus_connection(modbus_connection=first)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.host, first.state, first.state_at, first.last_answer_at) == ("10.0.4.18", "connected", now, later)
    assert (second.state, second.state_at, second.last_error) == ("waiting", later, "")


def test_a_type_without_registers_and_a_disabled_device_are_not_polled_and_say_why(in_acme: Tenant, make_device: MakeDevice) -> None:
    ModbusConnection.objects.create(device=make_device("plc-1"), host="10.0.4.17")
    off = make_device("plc-2", type_name="Meter", is_enabled=False)
    ModbusConnection.objects.create(device=off, host="10.0.4.18")
    ModbusRegister.objects.create(device_type=DeviceType.objects.get(name="Meter"), metric="power", address=0)
    first, second = load_modbus_targets()
    assert "has no register map" in first.obstacle
    assert "switched off" in second.obstacle
