"""What takes long has a few turns of a tenant, and holds no connection while it waits for a plant."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaServer
from devices.models import Device
from iiot_site.lib import turns as module
from iiot_site.lib.turns import turns
from protocols.opcua.browsing import BrowsedLevel
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser, MakeDevice

HISTORY = "/t/acme/api/v1/devices/{device}/telemetry?from=2026-11-01T00:00:00Z"
LONG = [
    f"{HISTORY}&format=csv",
    f"{HISTORY}&format=parquet",
    f"{HISTORY}&to=2026-11-02T00:00:01Z&bucket=1h",
    f"{HISTORY}&to=2026-11-02T00:00:01Z&points=100",
    "/t/acme/api/v1/telemetry/ledger?bucket=minute",
    "/t/acme/api/v1/devices?page_size=201",
    "/t/acme/devices/{device}/chart?metric=temperature&span=7d",
]
SHORT = [
    HISTORY,
    f"{HISTORY}&to=2026-11-02T00:00:00Z&bucket=1h",
    f"{HISTORY}&to=2026-11-02T00:00:00Z&points=100",
    "/t/acme/api/v1/telemetry/ledger",
    "/t/acme/api/v1/devices?page_size=200",
    "/t/acme/devices/{device}/chart?metric=temperature&span=24h",
]


@pytest.fixture
def _long_ones_taken(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.IIOT_TENANT_LONG_REQUESTS = 1
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    turn = turns.take("acme", is_long=True)
    yield
    turn.leave()
    assert turns.count("acme") == (0, 0)


@pytest.fixture
def device(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device()


@pytest.mark.usefixtures("_long_ones_taken")
def test_what_reads_much_waits_for_a_long_turn_and_what_reads_little_goes_on(
    device: Device, acme_viewer: User, browser: MakeBrowser
) -> None:
    client = browser(acme_viewer)
    assert {address: client.get(address.format(device=device.uuid)).status_code for address in LONG} == dict.fromkeys(LONG, 503)
    assert {address: client.get(address.format(device=device.uuid)).status_code for address in SHORT} == dict.fromkeys(SHORT, 200)


@pytest.mark.usefixtures("_long_ones_taken")
def test_imports_and_labels_wait_for_a_long_turn(acme: Tenant, acme_admin: User, api: MakeApi, browser: MakeBrowser) -> None:
    answer = api(acme_admin, acme).post("/api/v1/devices/import?dry_run=1", "key,type\n", content_type="text/csv")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert browser(acme_admin).post("/t/acme/devices/labels/print").status_code == 503


def test_an_export_gives_its_turn_back_at_its_end(device: Device, acme_viewer: User, browser: MakeBrowser) -> None:
    answer: Any = browser(acme_viewer).get(LONG[0].format(device=device.uuid))
    assert turns.count("acme") == (1, 1)
    assert b"".join(answer.streaming_content)
    assert turns.count("acme") == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_question_to_a_plant_holds_no_connection_meanwhile(
    acme: Tenant, acme_developer: User, api: MakeApi, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_context(acme):
        server = OpcUaServer.objects.create(name="PLC", endpoint_url="opc.tcp://127.0.0.1:4")
    held: list[bool] = []

    def browse(*_: object, **__: object) -> BrowsedLevel:
        held.append(connection.connection is not None)
        assert turns.count("acme") == (1, 1)
        return BrowsedLevel([], is_cut=False)

    def ask_offers(_: str) -> list[object]:
        held.append(connection.connection is not None)
        return []

    monkeypatch.setattr("protocols.api.opcua_views.browse_server", browse)
    monkeypatch.setattr("protocols.api.opcua_views.ask_offers", ask_offers)
    clients = (
        (api(acme_developer, acme), f"/t/acme/api/v1/protocols/opcua-servers/{server.uuid}"),
        (browser(acme_developer), f"/t/acme/opcua/{server.uuid}"),
    )
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)  # as in the web process
    for client, address in clients:
        connection.close()
        assert client.get(f"{address}/browse").status_code == 200
        connection.close()
        assert client.post(f"{address}/check").status_code == 200
    assert held == [False] * 4
