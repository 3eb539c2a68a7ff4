"""`POST /telemetry`: devices for themselves, programs and people for their tenant's devices."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices.models import Device
from devices.services import issue_credential
from protocols.services import Heartbeat, record_heartbeat
from telemetry.models import Reading, RejectedMessage
from tenants.models import Tenant, User
from tenants.services import issue_api_key
from tests.conftest import MakeApi, MakeDevice

URL = "/api/v1/telemetry"


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        make_device("pump-8", name="Pump 8")
        return make_device("pump-7")


@pytest.fixture
def device(acme: Tenant, pump: Device) -> APIClient:
    """pump-7 itself."""
    with tenant_context(acme):
        token = issue_credential(device=pump, kind="token", now=timezone.now()).secret
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def program(acme: Tenant, pump: Device) -> APIClient:
    """A program with an API key of acme that may write telemetry."""
    client = APIClient()
    key = issue_api_key(tenant=acme, name="gateway", permissions=["telemetry:write"], created_by=None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key.secret}")
    return client


def stored(tenant: Tenant) -> list[tuple[str, float]]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("device__key", "ts").values_list("device__key", "value"))


def reasons(answer: Any) -> list[tuple[int, str]]:
    return [(refused["index"], refused["reason"]) for refused in answer.json()["rejected"]]


def test_a_device_sends_for_itself(device: APIClient, acme: Tenant) -> None:
    answer = device.post(URL, {"temperature": 21.5})
    assert (answer.status_code, answer.json()) == (200, {"stored": 1, "duplicates": 0, "rejected": []})
    assert stored(acme) == [("pump-7", 21.5)]


def test_a_device_may_name_itself_but_no_other(device: APIClient, acme: Tenant) -> None:
    answer = device.post(URL, [{"device": "pump-7", "temperature": 1}, {"device": "pump-8", "temperature": 2}, {"temperature": 3}])
    assert answer.json()["stored"] == 2
    assert reasons(answer) == [(1, "unknown_device")]
    assert stored(acme) == [("pump-7", 1.0), ("pump-7", 3.0)]
    assert device.post(URL, {"device": "pump-8", "temperature": 2}).status_code == 404


def test_the_same_reading_twice_is_a_duplicate(device: APIClient) -> None:
    message = {"ts": int(timezone.now().timestamp() * 1000), "values": {"temperature": 21.5}}
    device.post(URL, message)
    assert device.post(URL, message).json() == {"stored": 0, "duplicates": 1, "rejected": []}


def test_a_device_token_opens_nothing_else(device: APIClient) -> None:
    assert device.get(URL).status_code == 401
    assert device.get("/api/v1/devices").status_code == 401


def test_a_program_names_the_device_in_each_message(program: APIClient, acme: Tenant) -> None:
    answer = program.post(URL, [{"device": "pump-7", "temperature": 1}, {"temperature": 2}, {"device": "pump-8", "temperature": 3}, 4])
    assert answer.status_code == 200
    assert reasons(answer) == [(1, "invalid_shape"), (3, "invalid_shape")]
    assert stored(acme) == [("pump-7", 1.0), ("pump-8", 3.0)]
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == 2


def test_what_is_refused_is_written_in_one_piece(
    program: APIClient, acme: Tenant, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(20):
        answer = program.post(URL, [1] * 1_000)
    assert len(answer.json()["rejected"]) == 1_000
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == 1_000


def test_a_request_brings_a_bounded_number_of_messages(program: APIClient, acme: Tenant) -> None:
    answer = program.post(URL, [1] * 1_001)
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_values")
    with tenant_context(acme):
        assert RejectedMessage.objects.get().reason == "too_many_values"


def test_a_foreign_device_looks_like_an_unknown_one(program: APIClient, globex: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(globex):
        make_device("mixer-1", type_name="Mixer")
    answer = program.post(URL, [{"device": "mixer-1", "temperature": 1}, {"device": "nothing", "temperature": 1}])
    first, second = answer.json()["rejected"]
    assert first["detail"].replace("mixer-1", "nothing") == second["detail"]
    assert (first["reason"], second["reason"]) == ("unknown_device", "unknown_device")
    assert stored(globex) == []
    assert program.post(URL, {"device": "mixer-1", "temperature": 1}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b'{"temperature": NaN}', 400, "not_finite"),
        (b"[]", 400, "invalid_shape"),
        (b"21.5", 400, "invalid_shape"),
        (b'{"temperature": [1]}', 400, "invalid_shape"),
        (b"{}", 400, "invalid_shape"),
        (b'{"ts": "yesterday", "values": {"temperature": 1}}', 400, "invalid_timestamp"),
        (b'{"temperature": 1, "temperature": 2}', 400, "duplicate_key"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"note": "' + b"x" * 5_000 + b'"}', 413, "too_large"),
    ],
)
def test_a_request_that_cannot_be_read_answers_with_the_usual_error(
    device: APIClient, acme: Tenant, settings: LazySettings, body: bytes, status: int, code: str
) -> None:
    if status == 413:
        settings.IIOT_MAX_MESSAGE_BYTES = 4_096
    answer = device.post(URL, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "detail", "errors"}
    with tenant_context(acme):
        assert RejectedMessage.objects.get().reason == code


def test_one_refused_value_does_not_fail_the_message(device: APIClient) -> None:
    answer = device.post(URL, {"temperature": "hot", "pressure": 3, "": 4})
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    assert [(r["reason"], r["metric"]) for r in answer.json()["rejected"]] == [("wrong_type", "temperature"), ("invalid_metric", "")]


@pytest.mark.parametrize(
    ("message", "code"), [({"ts": 1000, "values": {"temperature": 12}}, "too_old"), ({"temperature": [1]}, "invalid_shape")]
)
def test_a_message_of_which_nothing_is_stored_is_no_success(device: APIClient, message: Any, code: str) -> None:
    answer = device.post(URL, message)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_other_formats_are_not_read(device: APIClient) -> None:
    answer = device.post(URL, b"temperature=1", content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 415
    assert "Send Content-Type: application/json or application/cbor" in answer.json()["detail"]


def test_a_device_that_reads_is_told_which_credential_it_takes(device: APIClient) -> None:
    answer = device.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert "Use an API key here" in answer.json()["detail"]


@pytest.mark.usefixtures("pump")
def test_people_need_the_permission(api: MakeApi, acme: Tenant, acme_developer: User, acme_viewer: User) -> None:
    message = {"device": "pump-7", "temperature": 1}
    assert api(acme_developer, acme).post(URL, message).status_code == 200
    assert api(acme_viewer, acme).post(URL, message).status_code == 403
    assert api(None, None).post(URL, message).status_code == 401


@pytest.mark.usefixtures("pump")
def test_an_outsider_reaches_no_device_of_acme(api: MakeApi, globex: Tenant, globex_admin: User) -> None:
    message = {"device": "pump-7", "temperature": 1}
    assert api(globex_admin, globex).post(URL, message).status_code == 404
    assert api(globex_admin, globex).post(f"/t/acme{URL}", message).status_code == 404


def test_a_revoked_token_is_worth_nothing(device: APIClient, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        pump.credentials.update(revoked_at=timezone.now())
    assert device.post(URL, {"temperature": 1}).status_code == 401


def test_history_is_under_the_same_address(api: MakeApi, acme: Tenant, acme_viewer: User, device: APIClient, pump: Device) -> None:
    device.post(URL, {"temperature": 21.5})
    answer = api(acme_viewer, acme).get(URL, {"device": str(pump.uuid), "metric": "temperature"})
    assert [point["value"] for point in answer.json()["results"]] == [21.5]


def test_listeners_are_alive_while_they_report(api: MakeApi, acme: Tenant, acme_viewer: User) -> None:
    now = timezone.now()
    for name, number, state, age in (("coap", 1, "stopped", 1), ("mqtt", 1, "connected", 60), ("mqtt", 2, "connected", 1)):
        heartbeat = Heartbeat(name, "host", 1, state, now, 0, 0, "", number=number)
        record_heartbeat(heartbeat=heartbeat, now=now - timedelta(seconds=age))
    answer = api(acme_viewer, acme).get("/api/v1/protocols/listeners")
    seen = [(listener["name"], listener["number"], listener["is_alive"], listener["processes"]) for listener in answer.json()["results"]]
    assert seen == [("coap", 1, False, 0), ("mqtt", 1, False, 1), ("mqtt", 2, True, 1)]
    assert api(None, None).get("/api/v1/protocols/listeners").status_code == 401
