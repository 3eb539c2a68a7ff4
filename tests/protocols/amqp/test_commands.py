"""Commands through a real RabbitMQ: to the device's queue, its answer back, and kept while it has no queue."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import queue_command
from devices.models import Command, Device
from devices.types import CommandRef
from protocols.amqp.command_sender import CommandSender, lifetime_ms
from protocols.broker_address import BrokerAddress
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.amqp.conftest import Publisher, RunListener
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE, RESPONSE = "iiot.commands.acme.pump-7", "acme.pump-7.commands.response"


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7", protocol="amqp")


@pytest.fixture
def pump(platform: Publisher) -> Iterator[Publisher]:
    """The device, with its queue made; the platform binds it."""
    platform.channel.queue_declare(QUEUE, durable=True)
    platform.channel.queue_purge(QUEUE)
    yield platform
    platform.channel.queue_delete(QUEUE)


def queue(tenant: Tenant, **details: Any) -> Command:
    with tenant_context(tenant):
        return queue_command(device=Device.objects.get(), name="set_speed", payload={"rpm": 1450}, now=timezone.now(), **details)


def command_of(tenant: Tenant) -> Command:
    with tenant_context(tenant):
        return Command.objects.get()


def test_a_command_reaches_the_devices_queue_and_its_answer_is_kept(acme: Tenant, pump: Publisher, run_listener: RunListener) -> None:
    with run_listener():
        command = queue(acme)
        wait_until(lambda: command_of(acme).state == "sent")
        method, properties, body = pump.channel.basic_get(QUEUE, auto_ack=True)
        got = json.loads(body)
        assert (method.routing_key, properties.message_id, properties.content_type) == (
            "acme.pump-7.commands",
            str(command.pk),
            "application/json",
        )
        assert 0 < int(properties.expiration) <= 30_000  # then the next copy comes
        assert (got["id"], got["name"], got["payload"], got["attempt"]) == (str(command.pk), "set_speed", {"rpm": 1450}, 1)
        pump.publish(json.dumps({"id": got["id"], "status": "ok", "data": {"rpm": 1448}}), key=RESPONSE)
        wait_until(lambda: command_of(acme).state == "acknowledged")
        assert command_of(acme).response == {"rpm": 1448}
        with tenant_context(acme):
            wait_until(lambda: Device.objects.get().last_seen_via == "amqp")


def test_a_command_to_a_device_without_a_queue_stays_queued(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    with run_listener() as running:
        queue(acme)
        with tenant_context(acme):  # claimed, tried, and put back for the next time
            wait_until(lambda: Command.objects.get().offer_at > timezone.now() + timedelta(seconds=20))
            wait_until(lambda: running._sender._channel is not None)
        assert (command_of(acme).state, command_of(acme).attempts) == ("queued", 0)
        assert running.last_error == ""


def test_an_answer_to_a_command_that_the_device_does_not_have_is_refused(
    acme: Tenant, globex: Tenant, make_device: MakeDevice, pump: Publisher, run_listener: RunListener
) -> None:
    with tenant_context(globex):
        make_device("pump-7", protocol="amqp")
    with run_listener():
        command = queue(acme)
        for key in ("globex.pump-7.commands.response", RESPONSE):
            answered = command.pk if key != RESPONSE else uuid4()
            pump.publish(json.dumps({"id": str(answered), "status": "ok"}), key=key)
        for tenant in (acme, globex):
            with tenant_context(tenant):
                wait_until(RejectedMessage.objects.exists)
                assert RejectedMessage.objects.get().reason == "unknown_command"
        assert command_of(acme).state in {"queued", "sent"}


def test_the_sender_connects_again_where_the_connection_was_lost(acme: Tenant, broker: BrokerAddress, pump: Publisher) -> None:
    sender = CommandSender(broker)
    assert sender.is_ready()
    sender._connection.close()
    assert not sender.is_ready()
    sender._retry_at = 0.0
    assert sender.is_ready()
    assert sender.send("acme", CommandRef(uuid4(), "pump-7", "go", None, timezone.now() + timedelta(hours=1), 1))
    assert not sender.send("acme", CommandRef(uuid4(), "fan-1", "go", None, timezone.now() + timedelta(hours=1), 1))
    assert sender.is_ready()  # a queue that is missing costs no connection
    sender.close()


def test_a_broker_that_is_away_makes_no_trouble() -> None:
    sender = CommandSender(BrokerAddress("127.0.0.1", 9, "iiot", "x", uses_tls=False, virtual_host="/"))
    assert not sender.is_ready()
    assert not sender.is_ready()  # without another attempt, for now
    sender.close()


@pytest.mark.parametrize(("attempt", "expires_in", "milliseconds"), [(1, 3600, 30_000), (3, 3600, 120_000), (1, 5, 5_000), (1, -5, 0)])
def test_a_copy_lasts_until_the_next_one(attempt: int, expires_in: int, milliseconds: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert lifetime_ms(attempt=attempt, expires_at=now + timedelta(seconds=expires_in), now=now) == milliseconds
