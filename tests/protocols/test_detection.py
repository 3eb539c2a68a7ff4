"""Devices registered as "auto": the first valid message says protocol and format, and they are remembered."""

from datetime import datetime

import cbor2
import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.detection_services import record_detections, reset_detection
from devices.models import Device, DeviceType
from devices.selectors import load_device_refs
from devices.types import Detection
from protocols.handoff import Committed
from protocols.pipeline import process_messages
from protocols.resolution import clear_caches
from protocols.types import BatchOutcome
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser, MakeDevice
from tests.protocols.conftest import MakeMessage


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device("pump-7")


def ignore(_committed: Committed) -> None:
    """Nobody waits for what is stored."""


def process(make_message: MakeMessage, now: datetime, *payloads: bytes | str, protocol: str = "mqtt") -> BatchOutcome:
    messages = [msgspec.structs.replace(make_message(payload), protocol=protocol) for payload in payloads]
    return process_messages(messages=messages, now=now, hand_on=ignore)


def found(device: Device) -> tuple[str, str]:
    device.refresh_from_db()
    return device.detected_protocol, device.detected_codec


def detection_statements(queries: CaptureQueriesContext) -> int:
    return sum("detected_at" in query["sql"] for query in queries)


def test_the_first_valid_message_says_protocol_and_format(pump: Device, make_message: MakeMessage, now: datetime) -> None:
    process(make_message, now, "{", '{"temperature": null}', protocol="http")
    assert found(pump) == ("", "")
    process(make_message, now, b'[{"n": "temperature", "v": 21}]', '{"temperature": 22}', protocol="mqtt")
    assert found(pump) == ("mqtt", "senml")
    clear_caches()
    assert process(make_message, now, cbor2.dumps({"temperature": 23}), protocol="coap").stored == 1
    assert found(pump) == ("mqtt", "senml")


def test_many_devices_cost_one_statement_and_known_ones_none(
    in_acme: Tenant, make_device: MakeDevice, make_message: MakeMessage, now: datetime
) -> None:
    for number in range(5):
        make_device(f"pump-{number}")

    def send() -> int:
        messages = [make_message('{"temperature": 1}', device=f"pump-{number}") for number in range(5)]
        with CaptureQueriesContext(connection) as queries:
            process_messages(messages=messages, now=now, hand_on=ignore)
        return detection_statements(queries)

    assert send() == 1
    assert set(Device.objects.values_list("detected_protocol", "detected_codec")) == {("mqtt", "json")}
    clear_caches()  # as its own notice does within milliseconds
    assert send() == 0


def test_what_is_declared_is_not_detected(in_acme: Tenant, make_device: MakeDevice, make_message: MakeMessage, now: datetime) -> None:
    pump = make_device("pump-7", protocol="mqtt")
    DeviceType.objects.update(codec="json")
    with CaptureQueriesContext(connection) as queries:
        assert process(make_message, now, '{"temperature": 1}').stored == 1
    assert detection_statements(queries) == 0
    assert found(pump) == ("", "")


@pytest.mark.parametrize("protocol", ["opcua", "modbus"])
def test_a_device_that_we_read_ourselves_has_a_protocol_and_no_format(
    pump: Device, make_message: MakeMessage, now: datetime, protocol: str
) -> None:
    process(make_message, now, '{"temperature": 1}', protocol=protocol)
    assert found(pump) == (protocol, "")
    clear_caches()
    with CaptureQueriesContext(connection) as queries:
        process(make_message, now, '{"temperature": 2}', protocol=protocol)
    assert detection_statements(queries) == 0


def test_a_second_writer_changes_nothing(pump: Device, now: datetime) -> None:
    assert record_detections(detections=[Detection(pump.pk, "mqtt", "json")], now=now) == ["pump-7"]
    assert record_detections(detections=[Detection(pump.pk, "coap", "cbor")], now=now) == []
    assert found(pump) == ("mqtt", "json")


def test_after_a_reset_the_next_message_says_it_anew(pump: Device, make_message: MakeMessage, now: datetime) -> None:
    process(make_message, now, '{"temperature": 1}', protocol="http")
    reset_detection(device=pump)
    clear_caches()
    ref = load_device_refs(["pump-7"])["pump-7"]
    assert (ref.awaits_protocol, ref.awaits_codec, ref.detected_codec) == (True, True, "")
    process(make_message, now, b"pump-7 temperature=2", protocol="mqtt")
    assert found(pump) == ("mqtt", "line")


@pytest.fixture
def detected(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        device = make_device("pump-7")
        Device.objects.update(detected_protocol="mqtt", detected_codec="json", detected_at=timezone.now())
    return device


def is_forgotten(device: Device, tenant: Tenant) -> bool:
    with tenant_context(tenant):
        return found(device) == ("", "")


def test_developers_reset_it_over_the_api_and_viewers_see_it(
    detected: Device, api: MakeApi, acme: Tenant, acme_developer: User, acme_viewer: User
) -> None:
    url = f"/api/v1/devices/{detected.uuid}"
    seen = api(acme_viewer, acme).get(url).json()
    assert (seen["detected_protocol"], seen["detected_codec"]) == ("mqtt", "json")
    assert api(acme_viewer, acme).post(f"{url}/reset-detection").status_code == 403
    assert api(acme_developer, acme).post(f"{url}/reset-detection").json()["detected_protocol"] == ""
    assert is_forgotten(detected, acme)


def test_the_devices_page_shows_and_resets_it(
    detected: Device, browser: MakeBrowser, acme: Tenant, acme_developer: User, acme_viewer: User
) -> None:
    page = f"/t/acme/devices/{detected.uuid}"
    shown = browser(acme_viewer).get(page).content.decode()
    assert "MQTT (detected)" in shown
    assert "detect-anew" not in shown
    assert browser(acme_viewer).post(f"{page}/detect-anew").status_code == 403
    assert browser(acme_developer).post(f"{page}/detect-anew").status_code == 302
    assert is_forgotten(detected, acme)
    assert "detected from the first valid message" in browser(acme_viewer).get(page).content.decode()


def test_people_of_another_tenant_do_not(detected: Device, browser: MakeBrowser, acme: Tenant, globex_admin: User) -> None:
    assert browser(globex_admin).post(f"/t/acme/devices/{detected.uuid}/detect-anew").status_code == 404
    assert not is_forgotten(detected, acme)
