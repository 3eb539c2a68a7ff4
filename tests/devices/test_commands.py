"""Commands from queueing to their answer, in the database and over the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices import command_services as commands
from devices import tasks
from devices.connection_services import ConnectionWord, record_connections
from devices.errors import CommandConflictError, IllegalCommandEventError, UnknownCommandError
from devices.models import Command, Device, DeviceCredential
from devices.reaching import PUSHING_PROTOCOLS, is_reached_over
from devices.services import issue_credential
from iiot_site.lib.schemas import current_schema
from tenants.models import Tenant, Timer, User
from tests.conftest import MakeApi, MakeDevice

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
API = "/api/v1"


def later(**units: float) -> datetime:
    return NOW + timedelta(**units)


@pytest.fixture
def pump(in_acme: Tenant, make_device: MakeDevice) -> Device:
    return make_device("pump-7", protocol="mqtt")


def queue(device: Device, name: str = "reboot", **details: Any) -> Command:
    return commands.queue_command(device=device, name=name, payload=None, now=NOW, **details)


def due_timers(kind: str) -> list[datetime]:
    return list(Timer.objects.filter(schema="t_acme", kind=kind).values_list("due_at", flat=True))


# --- Sending


def test_a_command_goes_over_its_devices_protocol_once_per_claim(pump: Device) -> None:
    command = queue(pump)
    assert due_timers("commands-mqtt") == [NOW]
    assert commands.claim_commands(protocol="amqp", now=NOW) == []
    taken = commands.claim_commands(protocol="mqtt", now=NOW)
    assert [(one.id, one.device_key, one.attempt) for one in taken] == [(command.pk, "pump-7", 1)]
    assert commands.claim_commands(protocol="mqtt", now=NOW) == []
    assert commands.next_send_at(protocol="mqtt", now=NOW) == later(seconds=30)


def test_an_unanswered_command_is_sent_again_with_the_same_id(pump: Device) -> None:
    command = queue(pump)
    for attempt, at in ((1, NOW), (2, later(seconds=30)), (3, later(seconds=90))):
        taken = commands.claim_commands(protocol="mqtt", now=at)
        assert [(one.id, one.attempt) for one in taken] == [(command.pk, attempt)]
        commands.mark_sent(command_ids=[command.pk], now=at)
    command.refresh_from_db()
    assert (command.state, command.attempts, command.sent_at, command.offer_at) == ("sent", 3, NOW, later(seconds=210))


def test_a_device_that_comes_back_gets_what_it_has_not_answered_at_once(pump: Device) -> None:
    command = queue(pump)
    commands.claim_commands(protocol="mqtt", now=NOW)
    commands.mark_sent(command_ids=[command.pk], now=NOW)
    record_connections(words=[ConnectionWord(pump, False, later(seconds=1))])
    assert commands.claim_commands(protocol="mqtt", now=later(seconds=2)) == []
    record_connections(words=[ConnectionWord(pump, True, later(seconds=3))])
    assert [one.id for one in commands.claim_commands(protocol="mqtt", now=later(seconds=3))] == [command.pk]
    pump.refresh_from_db()
    assert (pump.connection, pump.connection_since) == ("online", later(seconds=3))


def test_with_protocol_auto_a_command_goes_where_the_device_was_heard_last(in_acme: Tenant, make_device: MakeDevice) -> None:
    device = make_device("pump-8")
    command = queue(device)
    assert {protocol for protocol in PUSHING_PROTOCOLS if due_timers(f"commands-{protocol}")} == set(PUSHING_PROTOCOLS)
    assert commands.claim_commands(protocol="mqtt", now=NOW) == []
    assert commands.next_send_at(protocol="mqtt", now=NOW) == later(seconds=30)
    Device.objects.update(last_seen_via="mqtt")
    assert [one.id for one in commands.claim_commands(protocol="mqtt", now=NOW)] == [command.pk]


def test_with_protocol_auto_a_command_goes_over_the_detected_one_while_the_device_is_heard_where_it_cannot_be_reached(
    in_acme: Tenant, make_device: MakeDevice
) -> None:
    command = queue(make_device("pump-8"))
    Device.objects.update(detected_protocol="mqtt", last_seen_via="http")
    assert [one.id for one in commands.claim_commands(protocol="mqtt", now=NOW)] == [command.pk]
    assert is_reached_over("mqtt", device_id=command.device_id)
    Device.objects.update(last_seen_via="coap")
    assert [one.id for one in commands.claim_commands(protocol="coap", now=later(seconds=30))] == [command.pk]
    assert not is_reached_over("mqtt", device_id=command.device_id)


def test_nothing_is_sent_to_a_device_that_is_switched_off(pump: Device) -> None:
    queue(pump)
    Device.objects.update(is_enabled=False)
    assert commands.claim_commands(protocol="mqtt", now=NOW) == []
    assert commands.next_send_at(protocol="mqtt", now=NOW) is None
    with pytest.raises(CommandConflictError):
        queue(pump)


def test_a_device_has_a_hundred_open_commands_at_most(pump: Device) -> None:
    for _ in range(100):
        queue(pump)
    with pytest.raises(CommandConflictError):
        queue(pump)


# --- Answers


@pytest.mark.parametrize(("is_done", "state"), [(True, "acknowledged"), (False, "failed")])
def test_the_answer_is_kept_and_may_come_twice(pump: Device, is_done: bool, state: str) -> None:
    command = queue(pump)
    for at in (later(seconds=1), later(seconds=9)):
        commands.record_response(device_key="pump-7", command_id=command.pk, is_done=is_done, data={"rpm": 1}, error="e", now=at)
    command.refresh_from_db()
    assert (command.state, command.response, command.error, command.finished_at) == (state, {"rpm": 1}, "e", later(seconds=1))
    with pytest.raises(IllegalCommandEventError):
        commands.record_response(device_key="pump-7", command_id=command.pk, is_done=not is_done, data=None, now=NOW)
    commands.mark_sent(command_ids=[command.pk], now=later(seconds=2))
    assert Command.objects.get().state == state


def test_nobody_answers_for_another_device(pump: Device, make_device: MakeDevice) -> None:
    command = queue(pump)
    make_device("pump-8")
    with pytest.raises(UnknownCommandError):
        commands.record_response(device_key="pump-8", command_id=command.pk, is_done=True, data=None, now=NOW)


def test_a_command_expires_and_a_late_answer_still_counts(pump: Device) -> None:
    command = queue(pump, lifetime=timedelta(minutes=5))
    other = queue(pump, lifetime=timedelta(minutes=9))
    assert commands.claim_commands(protocol="mqtt", now=later(minutes=5))[0].id == other.pk
    commands.expire_commands(now=later(minutes=5))
    command.refresh_from_db()
    assert command.state == "expired"
    commands.record_response(device_key="pump-7", command_id=command.pk, is_done=True, data=None, now=later(minutes=6))
    command.refresh_from_db()
    assert command.state == "acknowledged"


def test_the_task_expires_what_is_due_and_drops_its_timer(pump: Device) -> None:
    commands.queue_command(device=pump, name="reboot", payload=None, now=timezone.now() - timedelta(days=2))
    assert len(due_timers(commands.EXPIRY_TIMER)) == 1
    tasks.expire_commands_task()
    assert Command.objects.get().state == "expired"
    assert due_timers(commands.EXPIRY_TIMER) == []


def test_a_tenant_whose_commands_cannot_be_looked_at_holds_up_no_other(
    pump: Device, globex: Tenant, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = timezone.now() - timedelta(days=2)
    commands.queue_command(device=pump, name="reboot", payload=None, now=long_ago)
    with tenant_context(globex):
        commands.queue_command(device=make_device("fan-1"), name="reboot", payload=None, now=long_ago)

    def expire(*, now: datetime) -> datetime | None:
        if current_schema() == "t_acme":
            raise OperationalError("canceling statement due to lock timeout")
        return commands.expire_commands(now=now)

    monkeypatch.setattr(tasks, "expire_commands", expire)
    tasks.expire_commands_task()
    with tenant_context(globex):
        assert Command.objects.get().state == "expired"
    assert len(due_timers(commands.EXPIRY_TIMER)) == 1


# --- API


@pytest.fixture
def operator(api: MakeApi, acme: Tenant, acme_operator: User) -> APIClient:
    return api(acme_operator, acme)


@pytest.fixture
def device_client(pump: Device) -> APIClient:
    client = APIClient()
    token = issue_credential(device=pump, kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_command_goes_to_a_device_over_http_and_its_answer_comes_back(
    pump: Device, operator: APIClient, device_client: APIClient, acme_operator: User
) -> None:
    url = f"{API}/devices/{pump.uuid}/commands"
    made = operator.post(url, {"name": "set_speed", "payload": {"rpm": 1450}, "expires_in_seconds": 3600})
    assert made.status_code == 201, made.content
    command = made.json()
    assert (command["state"], command["created_by"]) == ("queued", str(acme_operator))

    fetched = device_client.get(f"{API}/device/commands").json()["commands"]
    assert [(one["id"], one["name"], one["payload"], one["attempt"]) for one in fetched] == [(command["id"], "set_speed", {"rpm": 1450}, 1)]
    assert operator.get(f"{url}/{command['id']}").json()["state"] == "sent"
    assert device_client.get(f"{API}/device/commands").json()["commands"][0]["attempt"] == 2

    answered = device_client.post(f"{API}/device/commands/{command['id']}/response", {"status": "ok", "data": {"rpm": 1448}})
    assert answered.status_code == 200, answered.content
    after = operator.get(f"{url}?state=acknowledged").json()["results"]
    assert [(one["id"], one["response"]) for one in after] == [(command["id"], {"rpm": 1448})]
    assert device_client.get(f"{API}/device/commands").json() == {"commands": []}


def test_the_same_idempotency_key_queues_one_command(pump: Device, operator: APIClient) -> None:
    url = f"{API}/devices/{pump.uuid}/commands"
    first, second = (operator.post(url, {"name": "reboot"}, headers={"idempotency-key": "k-1"}).json() for _ in range(2))
    assert first["id"] == second["id"]
    assert operator.post(url, {"name": "stop"}, headers={"idempotency-key": "k-1"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x", "payload": "y" * 17_000}, "payload"),
        ({"name": "x", "expires_in_seconds": 0}, "expires_in_seconds"),
        ({"name": "x", "expires_in_seconds": 2_592_001}, "expires_in_seconds"),
        ({"name": "x", "state": "sent"}, "state"),
    ],
)
def test_a_wrong_command_is_refused_with_its_field(pump: Device, operator: APIClient, body: Any, field: str) -> None:
    answer = operator.post(f"{API}/devices/{pump.uuid}/commands", body)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_a_type_says_which_commands_it_accepts(pump: Device, operator: APIClient, api: MakeApi, acme: Tenant, acme_developer: User) -> None:
    url = f"{API}/device-types/{pump.device_type.uuid}"
    developer = api(acme_developer, acme)
    assert developer.patch(url, {"commands": [{"name": "a b"}]}, format="json").status_code == 400
    assert developer.patch(url, {"commands": [{"name": "reboot"}]}, format="json").status_code == 200
    assert operator.post(f"{API}/devices/{pump.uuid}/commands", {"name": "reboot"}).status_code == 201
    assert operator.post(f"{API}/devices/{pump.uuid}/commands", {"name": "dance"}).status_code == 400


def test_a_device_sees_and_answers_its_own_commands_only(pump: Device, make_device: MakeDevice, device_client: APIClient) -> None:
    command = queue(make_device("pump-8"))
    assert device_client.get(f"{API}/device/commands").json() == {"commands": []}
    assert device_client.post(f"{API}/device/commands/{command.pk}/response", {"status": "ok"}).status_code == 404


def test_a_device_that_asks_or_answers_over_http_is_heard(acme: Tenant, pump: Device, device_client: APIClient) -> None:
    assert device_client.get(f"{API}/device/commands").status_code == 200
    with tenant_context(acme):
        pump.refresh_from_db()
    assert (pump.status, pump.last_seen_via) == ("online", "http")


def test_a_device_that_is_switched_off_neither_asks_nor_answers(acme: Tenant, pump: Device, device_client: APIClient) -> None:
    command = queue(pump)
    Device.objects.update(is_enabled=False)
    answers = [
        device_client.get(f"{API}/device/commands"),
        device_client.post(f"{API}/device/commands/{command.pk}/response", {"status": "ok"}),
        device_client.get(f"{API}/device/state"),
        device_client.patch(f"{API}/device/state", {"mode": "eco"}),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "device_disabled")] * 4
    with tenant_context(acme):
        pump.refresh_from_db()
        assert (pump.status, pump.commands.get().state) == ("never", "queued")


def test_a_device_of_another_tenant_and_people_find_nothing(
    pump: Device, globex: Tenant, make_device: MakeDevice, operator: APIClient, device_client: APIClient
) -> None:
    command = commands.queue_command(device=pump, name="reboot", payload=None, now=timezone.now())
    with tenant_context(globex):
        token = issue_credential(device=make_device("pump-7"), kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret
    stranger = APIClient()
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert stranger.get(f"{API}/device/commands").json() == {"commands": []}
    assert stranger.get(f"/t/acme{API}/device/commands").status_code in {401, 404}
    assert stranger.post(f"{API}/device/commands/{command.pk}/response", {"status": "ok"}).status_code == 404
    assert operator.get(f"{API}/device/commands").status_code == 401
    assert device_client.get(f"{API}/devices/{pump.uuid}/commands").status_code in {401, 403}


# --- Devices that nothing carries commands to


def test_a_device_that_is_only_read_is_told_nothing(
    acme: Tenant, acme_operator: User, api: MakeApi, in_acme: Tenant, make_device: MakeDevice
) -> None:
    declared = make_device("declared", protocol="modbus")
    issue_credential(device=declared, kind=DeviceCredential.Kind.TOKEN, now=NOW)  # which it will not come with
    heard = make_device("heard", protocol="auto")
    Device.objects.filter(pk=heard.pk).update(last_seen_via="modbus", detected_protocol="modbus")
    for device in (declared, heard):
        answer = api(acme_operator, acme).post(f"{API}/devices/{device.uuid}/commands", {"name": "stop"})
        assert (answer.status_code, answer.json()["code"]) == (409, "device_unreachable")
        assert "only reads devices over Modbus" in answer.json()["detail"]
    with tenant_context(acme):
        assert not Command.objects.exists()


def test_a_device_that_may_be_reached_yet_keeps_its_commands(in_acme: Tenant, make_device: MakeDevice) -> None:
    unheard, behind_a_server, asking = (
        make_device("a", protocol="auto"),
        make_device("b", protocol="opcua"),
        make_device("c", protocol="auto"),
    )
    Device.objects.filter(pk=asking.pk).update(last_seen_via="modbus", detected_protocol="modbus")
    asking.refresh_from_db()
    issue_credential(device=asking, kind=DeviceCredential.Kind.TOKEN, now=NOW)
    for device in (unheard, behind_a_server, asking):
        assert queue(device).state == "queued"
