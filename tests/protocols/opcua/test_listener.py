"""The listener against a real server: what changes there is stored, with its status and its time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaServer
from connections.opcua_services import save_opcua_server, trust_certificate
from devices.models import Device
from protocols.opcua.identity import load_identity
from protocols.opcua.listener import OpcUaListener
from telemetry.models import IngestLedger, LatestReading, TextReading
from tenants.models import Tenant
from tests.protocols.opcua.conftest import MapNode, readings, reasons, state_of
from tests.protocols.opcua.plant import PASSWORD, USERNAME, PlantServer
from tests.waiting import wait_until


def good(value: object, ts: datetime) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value), SourceTimestamp=ua.DateTime.fromisoformat(ts.isoformat()))


def status(name: str) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(getattr(StatusCodes, name)))


def test_it_stores_each_change_with_its_source_time_to_the_microsecond(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: len(readings(acme)) == 1)
    at = (datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=123_457)
    plant.write("Temperature", good(21.5, at))
    wait_until(lambda: (21.5, 0) in readings(acme))
    with tenant_context(acme):
        assert LatestReading.objects.get(metric__key="temperature").ts == at


def test_it_takes_numbers_booleans_and_texts_and_scales_numbers(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add("Raw", 215, ua.VariantType.Int16), "temperature", scale=0.1, offset=1.0)
    map_node(plant.add("Running", True), "running")
    map_node(plant.add("Program", "Rinse"), "program")
    wait_until(lambda: readings(acme) == [(22.5, 0)] and readings(acme, "running") == [(1.0, 0)])
    with tenant_context(acme):
        assert [row.value for row in TextReading.objects.all()] == ["Rinse"]


def test_a_bad_status_keeps_the_last_value_with_quality_bad(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])
    plant.write("Temperature", ua.DataValue(StatusCode=status("BadSensorFailure"), SourceTimestamp=None))
    wait_until(lambda: readings(acme) == [(20.0, 0), (20.0, 2)])
    plant.write("Temperature", ua.DataValue(ua.Variant(22.0), status("UncertainLastUsableValue")))
    wait_until(lambda: readings(acme)[-1] == (22.0, 1))


def test_a_node_that_was_bad_from_the_start_is_in_the_ledger(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    plant.add("Temperature", 20.0)
    plant.write("Temperature", ua.DataValue(StatusCode=status("BadSensorFailure")))
    map_node("nsu=http://plant.example/;s=Temperature")
    wait_until(lambda: reasons(acme) == ["no_value"])


def test_it_comes_back_after_the_server_was_restarted(plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])
    plant.stop()
    wait_until(lambda: state_of(acme).state == "failing")
    plant.start()
    plant.add("Temperature", 25.0)
    wait_until(lambda: (25.0, 0) in readings(acme))
    wait_until(lambda: (state_of(acme).state, state_of(acme).item_count) == ("connected", 1))


def test_a_changed_certificate_is_shown_and_not_trusted_until_somebody_accepts_it(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant, tmp_path: Path
) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])
    plant.stop()
    other = PlantServer(tmp_path, port=plant.port)
    assert load_identity(tmp_path).certificate != plant.identity.certificate
    try:
        other.start()
        other.add("Temperature", 99.0)
        wait_until(lambda: "another certificate" in state_of(acme).last_error)
        assert state_of(acme).offered_fingerprint in state_of(acme).last_error
        assert (99.0, 0) not in readings(acme)
        with tenant_context(acme):
            trust_certificate(server=OpcUaServer.objects.get(), fingerprint=state_of(acme).offered_fingerprint)
        wait_until(lambda: (99.0, 0) in readings(acme))
    finally:
        other.close()


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize(("password", "state"), [(PASSWORD, "connected"), ("wrong", "failing")])
def test_it_logs_in_with_a_password(
    plant: PlantServer, plc: OpcUaServer, map_node: MapNode, acme: Tenant, password: str, state: str
) -> None:
    with tenant_context(acme):
        plc.authentication, plc.username = "password", USERNAME
        save_opcua_server(server=plc, password=password)
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: state_of(acme).state == state and bool(state_of(acme).item_count or state_of(acme).last_error))
    assert password not in state_of(acme).last_error
    wait_until(lambda: readings(acme) == ([(20.0, 0)] if state == "connected" else []))


def test_a_node_that_does_not_exist_says_so_and_the_others_are_read(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    missing = map_node("nsu=http://plant.example/;s=Nothing", "pressure")
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])

    def problem() -> str:
        with tenant_context(acme):
            missing.refresh_from_db()
        return missing.problem

    wait_until(lambda: "BadNodeIdUnknown" in problem())


def test_it_follows_what_is_switched_off_and_on(
    plant: PlantServer, plc: OpcUaServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])
    with tenant_context(acme):
        plc.is_enabled = False
        save_opcua_server(server=plc)
    wait_until(lambda: not listener._sessions)
    plant.write("Temperature", good(30.0, timezone.now()))
    with tenant_context(acme):
        plc.is_enabled = True
        save_opcua_server(server=plc)
    wait_until(lambda: (30.0, 0) in readings(acme))


def test_the_ledger_adds_up_and_a_value_told_twice_is_stored_once(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])
    at = timezone.now()
    for step in range(50):
        plant.write("Temperature", good(float(step), at + timedelta(milliseconds=step)))
    wait_until(lambda: len(readings(acme)) == 51)
    with tenant_context(acme):
        rows = list(IngestLedger.objects.filter(listener="opcua"))
    assert sum(row.stored for row in rows) == 51
    assert all(row.received == row.stored + row.duplicate + row.rejected for row in rows)


def test_a_device_whose_values_do_not_change_stays_online_while_its_server_is_heard(
    plant: PlantServer, map_node: MapNode, pump: Device, listener: OpcUaListener, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.opcua.listener.HEARD_STEP", timedelta(seconds=1))
    map_node(plant.add("Temperature", 20.0))
    wait_until(lambda: readings(acme) == [(20.0, 0)])

    def last_seen() -> datetime:
        with tenant_context(acme):
            pump.refresh_from_db()
        return pump.last_seen_at or datetime.min.replace(tzinfo=UTC)

    first = last_seen()
    wait_until(lambda: last_seen() >= first + timedelta(seconds=4))
    assert pump.last_seen_via == "opcua"
    assert readings(acme) == [(20.0, 0)]
