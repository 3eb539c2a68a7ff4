"""The page Listeners: health for everybody, a tenant's own traffic, totals for platform administrators only."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from connections.models import ModbusConnection
from devices.models import Device
from protocols.meter import Load
from protocols.models import ListenerState
from protocols.services import Heartbeat, record_heartbeat
from telemetry.services import record_ingest
from telemetry.types import IngestCount
from tenants.models import Tenant, User
from tenants.services import ensure_membership
from tests.conftest import MakeBrowser

Beat = Callable[..., None]
PATH = "/t/acme/listeners"


@pytest.fixture
def beat(db: None) -> Beat:
    """Return `beat(name, state="connected", age=0, started_at=None, **load)`."""
    now = timezone.now()

    def make(
        name: str, *, state: str = "connected", age: float = 0, started_at: datetime | None = None, number: int = 1, **load: object
    ) -> None:
        heartbeat = Heartbeat(
            name,
            "host-1",
            17,
            state,
            started_at or now - timedelta(hours=1),
            5_000_000,
            7,
            "",
            load=Load(**load),  # type: ignore[arg-type]  # passed on
            number=number,
        )
        record_heartbeat(heartbeat=heartbeat, now=now - timedelta(seconds=age))

    return make


def test_before_any_listener_has_run_the_page_says_so(acme: Tenant, acme_viewer: User, browser: MakeBrowser) -> None:
    assert "No listener has ever run" in browser(acme_viewer).get(PATH).content.decode()


def test_each_listener_says_how_it_does(acme: Tenant, acme_viewer: User, browser: MakeBrowser, beat: Beat) -> None:
    beat("mqtt", latency_p50_ms=12.4, latency_p99_ms=48.0, buffer_fill=0.25)
    beat("amqp", age=40)
    beat("opcua", state="connecting")
    beat("modbus", state="stopped", age=90)
    text = browser(acme_viewer).get(PATH).content.decode()
    for words in ("Connected", "Silent", "40 s ago", "Connecting", "Stopped", "12 ms", "p99 48 ms", "25 %"):
        assert words in text
    assert 'hx-trigger="every 5s"' in text


def test_the_tls_door_has_a_row_but_no_messages_of_its_own(acme: Tenant, acme_viewer: User, browser: MakeBrowser, beat: Beat) -> None:
    beat("mqtt-tls", connections=4)
    text = browser(acme_viewer).get(PATH).content.decode()
    assert "MQTT over TLS" in text
    assert "counted by MQTT" in text
    assert "0/s" not in text


def test_a_tenant_sees_its_own_traffic_and_nobodys_totals(
    acme: Tenant, globex: Tenant, acme_viewer: User, browser: MakeBrowser, beat: Beat
) -> None:
    now = timezone.now()
    beat("mqtt", messages_per_second=4321.0, errors=((now, "a batch of globex was not stored"),))
    with tenant_context(acme):
        record_ingest(count=IngestCount("mqtt", 600, 590, 0, {"wrong_type": 10}, 300, 0, 0), now=now)
    with tenant_context(globex):
        record_ingest(count=IngestCount("mqtt", 99_000, 0, 0, {"too_old": 99_000}, 99_000, 0, 0), now=now)
        record_ingest(count=IngestCount("http", 5, 5, 0, {}, 5, 0, 0), now=now)
    text = browser(acme_viewer).get(PATH).content.decode()
    assert "1.0/s" in text
    assert "2.0 values/s" in text
    assert "Wrong type 10" in text
    for secret in ("4,321", "5,000,000", "globex", "too_old", "host-1", "HTTP"):
        assert secret not in text


def test_a_platform_administrator_sees_totals_and_errors(acme: Tenant, platform_admin: User, browser: MakeBrowser, beat: Beat) -> None:
    ensure_membership(user=platform_admin, tenant=acme, role_names=["viewer"])
    beat("mqtt", messages_per_second=4321.0, cache_hits=98, cache_misses=2, connections=3, errors=((timezone.now(), "no <b>broker</b>"),))
    text = browser(platform_admin).get(PATH).content.decode()
    for words in ("4,321/s", "5,000,000 since the start", "98.0 %", "no &lt;b&gt;broker&lt;/b&gt;", "host-1"):
        assert words in text


def test_a_modbus_device_in_trouble_is_named_with_its_error(
    acme: Tenant, pump: Device, acme_viewer: User, globex_admin: User, browser: MakeBrowser, beat: Beat
) -> None:
    beat("modbus")
    with tenant_context(acme):
        ModbusConnection.objects.create(device=pump, host="10.0.4.17", state="failing", last_error="holding 0: no answer")
    assert "holding 0: no answer" in browser(acme_viewer).get(PATH).content.decode()
    assert "holding 0" not in browser(globex_admin).get("/t/globex/listeners").content.decode()


def test_another_process_counts_as_a_restart(db: None, beat: Beat) -> None:
    started_at = timezone.now()
    beat("mqtt", started_at=started_at)
    beat("mqtt", started_at=started_at)
    assert ListenerState.objects.get().restarts == 0
    beat("mqtt", started_at=started_at + timedelta(seconds=9))
    assert ListenerState.objects.get().restarts == 1


def test_several_processes_of_one_listener_are_shown_each_and_together(
    acme: Tenant, acme_viewer: User, platform_admin: User, browser: MakeBrowser, beat: Beat
) -> None:
    ensure_membership(user=platform_admin, tenant=acme, role_names=["viewer"])
    beat("mqtt", messages_per_second=100.0)
    beat("mqtt", messages_per_second=300.0, number=2)
    beat("mqtt", age=40, number=3)
    text = browser(acme_viewer).get(PATH).content.decode()
    for words in ("2 of 3 connected", "3 processes", "MQTT 1", "MQTT 2", "MQTT 3", "Silent"):
        assert words in text
    assert "host-1" not in text
    text = browser(platform_admin).get(PATH).content.decode()
    for words in ("100/s", "300/s", "400/s", "15,000,000 since their start"):
        assert words in text


def test_an_administrator_of_the_platform_sees_all_listeners_without_being_a_member(
    beat: Beat, acme_viewer: User, platform_admin: User, browser: MakeBrowser
) -> None:
    beat("mqtt", bytes_per_second=1234.5678, latency_p99_ms=219.8765)
    administrator = browser(platform_admin)
    assert 'href="/listeners"' in administrator.get("/").content.decode()
    page = administrator.get("/listeners").content.decode()
    assert "All tenants together" in page
    assert "host-1" in page
    assert "<html" not in administrator.get("/listeners", headers={"HX-Request": "true"}).content.decode()
    assert browser(acme_viewer).get("/listeners").status_code == 404
    assert browser(None).get("/listeners")["Location"].startswith("/login")
    listed = administrator.get("/admin/protocols/listenerstate/").content.decode()
    assert "220 ms" in listed
    assert "219.8765" not in listed


def test_the_reasons_shown_add_up_to_what_was_rejected(acme: Tenant, acme_viewer: User, browser: MakeBrowser) -> None:
    reasons = {"too_old": 5, "wrong_type": 4, "not_json": 3, "no_value": 2, "too_large": 1}
    with tenant_context(acme):
        record_ingest(count=IngestCount("mqtt", 15, 0, 0, reasons, 15, 0, 15), now=timezone.now())
    text = browser(acme_viewer).get(PATH).content.decode()
    for words in ("Too old 5", "Wrong type 4", "Not JSON 3", "2 other reasons 3", "?listener=mqtt&amp;span=24h"):
        assert words in text
