"""Formats other than JSON on their way through pipeline, HTTP and the codec bench."""

import base64
from datetime import datetime, timedelta
from typing import Any

import cbor2
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices.models import Device, DeviceType, Metric
from devices.selectors import load_device_refs
from devices.services import issue_credential
from protocols.pipeline import process_messages
from protocols.resolution import clear_caches
from protocols.types import RawMessage
from telemetry.models import Reading, RejectedMessage, TextReading
from tenants.models import Tenant, User
from tenants.services import issue_api_key
from tests.conftest import MakeApi, MakeDevice
from tests.protocols.conftest import MakeMessage

TELEMETRY, DECODE = "/api/v1/telemetry", "/api/v1/protocols/decode"
FORMS = {
    "application/json": b'{"temperature": 21.5}',
    "application/cbor": cbor2.dumps({"temperature": 21.5}),
    "application/senml+json": b'[{"bn": "pump-7:", "n": "temperature", "v": 21.5}]',
    "application/senml+cbor": cbor2.dumps([{-2: "pump-7:", 0: "temperature", 2: 21.5}]),
    "text/plain": b"pump-7 temperature=21.5",
    "text/plain; charset=utf-8": b"21.5",
}


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        make_device("pump-8", name="Pump 8")
        return make_device("pump-7", metrics=("temperature",))


@pytest.fixture
def device(acme: Tenant, pump: Device) -> APIClient:
    with tenant_context(acme):
        token = issue_credential(device=pump, kind="token", now=timezone.now()).secret
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def program(acme: Tenant, pump: Device) -> APIClient:
    client = APIClient()
    key = issue_api_key(tenant=acme, name="gateway", permissions=["telemetry:write"], created_by=None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key.secret}")
    return client


def process(acme: Tenant, *messages: RawMessage, now: datetime) -> Any:
    clear_caches()
    return process_messages(messages=messages, now=now, hand_on=lambda _: None)


def stored(tenant: Tenant) -> list[tuple[str, str, float]]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("ts").values_list("device__key", "metric__key", "value"))


@pytest.mark.parametrize("frame", list(FORMS.values()))
def test_the_pipeline_finds_the_format(pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime, frame: bytes) -> None:
    assert process(acme, make_message(frame), now=now).refusals == []
    assert stored(acme) == [("pump-7", "temperature", 21.5)]


def test_the_device_types_codec_counts(pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime) -> None:
    with tenant_context(acme):
        DeviceType.objects.update(codec="plain")
        Metric.objects.update(data_type="text")
    process(acme, make_message('{"temperature": 21.5}'), now=now)
    with tenant_context(acme):
        assert TextReading.objects.get().value == '{"temperature": 21.5}'
        DeviceType.objects.update(codec="cbor")
    assert [r.reason for r in process(acme, make_message('{"temperature": 21.5}'), now=now).refusals] == ["malformed_cbor"]


def test_the_types_precision_counts(pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime) -> None:
    with tenant_context(acme):
        DeviceType.objects.update(codec="line", line_precision="s")
    process(acme, make_message(f"pump-7 temperature=1 {int(now.timestamp())}"), now=now)
    with tenant_context(acme):
        assert Reading.objects.get().ts == now.replace(microsecond=0)


def test_a_nameless_value_is_the_types_only_metric_or_value(pump: Device, acme: Tenant) -> None:
    with tenant_context(acme):
        assert load_device_refs(["pump-7"])["pump-7"].sole_metric == "temperature"
        Metric.objects.create(device_type=pump.device_type, key="pressure")
        assert load_device_refs(["pump-7"])["pump-7"].sole_metric == "value"
        Metric.objects.all().delete()
        assert load_device_refs(["pump-7"])["pump-7"].sole_metric == "value"


def test_a_record_for_another_device_is_refused_and_kept(pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime) -> None:
    outcome = process(acme, make_message('[{"bn": "pump-8:", "n": "temperature", "v": 1}]'), now=now)
    assert [refusal.reason for refusal in outcome.refusals] == ["other_device"]
    with tenant_context(acme):
        assert RejectedMessage.objects.get().reason == "other_device"
    assert stored(acme) == []


def test_a_relative_time_sent_again_by_the_broker_is_stored_once(
    pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime
) -> None:
    pack = '[{"n": "temperature", "v": 1, "t": -30}]'
    process(acme, make_message(pack, packet_id=5), now=now)
    again = make_message(pack, packet_id=5, dup=True, age=timedelta(seconds=-1))
    assert process(acme, again, now=now + timedelta(seconds=1)).duplicates == 1
    assert len(stored(acme)) == 1


@pytest.mark.parametrize("content_type", list(FORMS))
def test_a_device_posts_in_every_format(device: APIClient, acme: Tenant, content_type: str) -> None:
    answer = device.post(TELEMETRY, FORMS[content_type], content_type=content_type)
    assert (answer.status_code, answer.json()) == (200, {"stored": 1, "duplicates": 0, "rejected": []})
    assert stored(acme) == [("pump-7", "temperature", 21.5)]


def test_a_program_names_the_device(program: APIClient, acme: Tenant) -> None:
    both = cbor2.dumps([{"device": "pump-7", "temperature": 1}, {"device": "pump-8", "temperature": 2**63}])
    assert program.post(TELEMETRY, both, content_type="application/cbor").json()["stored"] == 2
    answer = program.post(f"{TELEMETRY}?device=pump-8", b"3", content_type="text/plain")
    assert answer.json()["stored"] == 1
    assert program.post(TELEMETRY, b"3", content_type="text/plain").json()["code"] == "invalid_shape"
    assert program.post(f"{TELEMETRY}?device=nothing", b"3", content_type="text/plain").status_code == 404


@pytest.mark.parametrize("key", ["%00", "a%00b", "pump-7%0A", "%F0%9F%9A%A8", "x" * 500])
def test_what_no_device_can_be_called_is_unknown(program: APIClient, key: str) -> None:
    assert program.post(f"{TELEMETRY}?device={key}", b"3", content_type="text/plain").status_code == 404


def test_a_device_key_with_nul_stops_no_batch(pump: Device, acme: Tenant, make_message: MakeMessage, now: datetime) -> None:
    outcome = process(acme, make_message("1", device="a\0b"), make_message("2"), now=now)
    assert (outcome.stored, [r.reason for r in outcome.refusals]) == (1, ["unknown_device"])


def test_a_device_posts_for_no_other(device: APIClient, acme: Tenant) -> None:
    assert device.post(f"{TELEMETRY}?device=pump-8", b"3", content_type="text/plain").status_code == 404
    assert stored(acme) == []


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/cbor", b"", 400, "malformed_cbor"),
        ("application/cbor", b"\xa1\x61a\xf9\x7e\x00", 400, "not_finite"),
        ("application/senml+json", b'{"n": "a"}', 400, "invalid_shape"),
        ("application/senml+json", b'[{"bn": "pump-8:", "n": "a", "v": 1}]', 400, "other_device"),
        ("application/senml+cbor", b"\xff", 400, "malformed_cbor"),
        ("text/plain", b"hello", 400, "malformed_json"),
        ("text/plain", b"pump-7 a=1,", 400, "malformed_line"),
        ("text/plain", b"x" * 300_000, 413, "too_large"),
    ],
)
def test_what_cannot_be_read_answers_with_its_error_and_is_kept(
    device: APIClient, acme: Tenant, content_type: str, body: bytes, status: int, code: str
) -> None:
    answer = device.post(TELEMETRY, body, content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    with tenant_context(acme):
        assert RejectedMessage.objects.get().reason == code


def test_the_bench_decodes_and_stores_nothing(api: MakeApi, acme: Tenant, acme_viewer: User) -> None:
    viewer = api(acme_viewer, acme)
    frame = {"payload": '[{"bn": "pump-7:", "n": "temperature", "u": "Cel", "v": 21.5}]', "device": "pump-7"}
    answer = viewer.post(DECODE, frame)
    sample = {"metric": "temperature", "value": 21.5, "time": None, "quality": "good", "unit": "°C", "refusal": None}
    assert (answer.status_code, answer.json()["codec"], answer.json()["samples"]) == (200, "senml", [sample])
    assert stored(acme) == []
    binary = cbor2.dumps({"running": True})
    for encoding, payload in (("base64", base64.b64encode(binary).decode()), ("hex", binary.hex(" "))):
        answer = viewer.post(DECODE, {"payload": payload, "encoding": encoding})
        assert (answer.json()["codec"], answer.json()["samples"][0]["value"]) == ("cbor", True)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"payload": "{"}, "malformed_json"),
        ({"payload": "a\0b", "codec": "plain"}, "parse_error"),
        ({"payload": "gaI*", "encoding": "base64"}, "invalid_shape"),
        ({"payload": "8é", "encoding": "base64"}, "invalid_shape"),
        ({"payload": "abc", "encoding": "hex"}, "invalid_shape"),
        ({"payload": "1", "codec": "morse"}, "invalid"),
        ({"payload": "1", "device": "no key"}, "invalid"),
        ({"payload": "1", "colour": "red"}, "invalid"),
        ({}, "invalid"),
    ],
)
def test_the_bench_answers_with_the_typed_error(api: MakeApi, acme: Tenant, acme_viewer: User, frame: dict[str, Any], code: str) -> None:
    answer = api(acme_viewer, acme).post(DECODE, frame)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
