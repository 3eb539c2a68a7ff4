"""Desired state through a real RabbitMQ: into the device's queue, again when it asks; its report taken in."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DesiredState, Device
from devices.state_services import change_desired, load_state
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.amqp.conftest import Publisher, RunListener
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE, DESIRED = "iiot.commands.acme.pump-7", "acme.pump-7.state.desired"
REPORTED, GET = "acme.pump-7.state.reported", "acme.pump-7.state.get"


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


def desire(tenant: Tenant, **settings: Any) -> None:
    with tenant_context(tenant):
        change_desired(device=Device.objects.get(), patch=settings, now=timezone.now())


def state(tenant: Tenant) -> DesiredState:
    with tenant_context(tenant):
        return load_state(Device.objects.get())


def read_one(pump: Publisher) -> tuple[str, dict[str, Any]]:
    """Return key and content of the next message in the device's queue."""
    found: list[Any] = []

    def is_there() -> bool:
        got = pump.channel.basic_get(QUEUE, auto_ack=True)
        found.extend([got] if got[0] is not None else [])
        return bool(found)

    wait_until(is_there)
    method, _, body = found[0]
    return method.routing_key, json.loads(body)


def test_a_device_is_told_at_once_reports_and_is_told_again_when_it_asks(acme: Tenant, pump: Publisher, run_listener: RunListener) -> None:
    with run_listener():
        desire(acme, interval_s=10)
        assert read_one(pump) == (DESIRED, {"version": 1, "desired": {"interval_s": 10}, "delta": {"interval_s": 10}})
        wait_until(lambda: state(acme).sent_at is not None)
        pump.publish('{"interval_s": 10, "mode": "eco"}', key=REPORTED)
        wait_until(lambda: state(acme).offer_at is None)
        assert state(acme).reported == {"interval_s": 10, "mode": "eco"}
        pump.publish("", key=GET)
        assert read_one(pump) == (DESIRED, {"version": 1, "desired": {"interval_s": 10}, "delta": {}})


def test_a_report_may_be_cbor_and_what_cannot_be_kept_is_among_the_rejected(
    acme: Tenant, platform: Publisher, run_listener: RunListener
) -> None:
    with run_listener():
        platform.publish(cbor2.dumps({"interval_s": 10}), key=REPORTED, content_type="application/cbor")
        platform.publish("[1]", key=REPORTED)
        with tenant_context(acme):
            wait_until(RejectedMessage.objects.exists)
            assert RejectedMessage.objects.get().reason == "state_refused"
    assert state(acme).reported == {"interval_s": 10}


def test_a_device_without_a_queue_is_not_taken_for_told(acme: Tenant, platform: Publisher, run_listener: RunListener) -> None:
    with run_listener() as running:
        desire(acme, interval_s=10)
        wait_until(lambda: (state(acme).offer_at or timezone.now()) > timezone.now() + timedelta(seconds=20))
        assert running.last_error == ""
    assert (state(acme).sent_at, state(acme).attempts) == (None, 0)
