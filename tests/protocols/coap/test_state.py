"""`/s`: a device hears what it shall be set to and reports what it is, for itself and for nobody else."""

import json
from typing import Any

import cbor2
import pytest
from aiocoap import GET, PUT
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DesiredState, Device
from devices.state_services import change_desired, load_state
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.coap.conftest import Client, RunListener, address, issue_token, observe
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = {"version": 0, "desired": {}, "delta": {}}


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7", protocol="coap")


@pytest.fixture
def token(acme: Tenant) -> str:
    with tenant_context(acme):
        return issue_token(Device.objects.get())


def desire(tenant: Tenant, **settings: Any) -> None:
    with tenant_context(tenant):
        change_desired(device=Device.objects.get(key="pump-7"), patch=settings, now=timezone.now())


def state(tenant: Tenant) -> DesiredState:
    with tenant_context(tenant):
        return load_state(Device.objects.get(key="pump-7"))


def read(answer: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer.payload)
    return document


def code(answer: Any) -> str:
    return str(answer.code)[:4]


def test_a_device_that_observes_is_told_at_once_and_reports(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    seen: list[Any] = []
    with run_listener() as listener:
        url = address(listener, token, "s")
        observe(client, url, seen)
        desire(acme, interval_s=10, mode="full")
        wait_until(lambda: len(seen) == 2)
        wanted = {"interval_s": 10, "mode": "full"}
        assert [read(answer) for answer in seen] == [NOTHING, {"version": 1, "desired": wanted, "delta": wanted}]
        wait_until(lambda: state(acme).sent_at is not None)
        assert code(client.post(url, '{"mode": "full"}', content_format=50)) == "2.04"
        assert code(client.post(url, cbor2.dumps({"interval_s": 10.0}), content_format=60)) == "2.04"
        assert state(acme).reported == wanted
        assert state(acme).offer_at is None
        in_cbor = client.request(GET, url, accept=60)
        assert cbor2.loads(in_cbor.payload) == {"version": 1, "desired": wanted, "delta": {}}


def test_a_device_that_comes_back_asks_and_has_then_been_told(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    desire(acme, interval_s=10)
    with run_listener() as listener:
        url = address(listener, token, "s")
        answer = client.request(GET, url)
        assert read(answer)["delta"] == {"interval_s": 10}
        wait_until(lambda: state(acme).sent_at is not None)
        assert client.request(GET, url, etags=[answer.opt.etag]).code.dotted == "2.03"
    with tenant_context(acme):
        assert Device.objects.get().last_seen_via == "coap"


def test_nobody_hears_or_reports_what_is_another_devices(
    acme: Tenant, globex: Tenant, token: str, make_device: MakeDevice, client: Client, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        neighbour = issue_token(make_device("pump-8"))
    with tenant_context(globex):
        outsider = issue_token(make_device("pump-7"))
    with run_listener() as listener:
        seen: list[Any] = []
        for other in (neighbour, outsider, token):
            observe(client, address(listener, other, "s"), seen)
        desire(acme, interval_s=10)
        wait_until(lambda: state(acme).sent_at is not None)
        assert [read(answer)["version"] for answer in seen] == [0, 0, 0, 1]
        for other in (neighbour, outsider):
            assert read(client.request(GET, address(listener, other, "s"))) == NOTHING
            assert code(client.post(address(listener, other, "s"), '{"interval_s": 10}')) == "2.04"  # its own
        for request in (GET, PUT):
            assert code(client.request(request, address(listener, "", "s"))) in {"4.01", "4.05"}
    assert state(acme).reported == {}


def test_a_report_that_cannot_be_kept_is_refused(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    with run_listener() as listener:
        for payload in ("", "{", "[1]", '{"": 1}', '{"a": 1e999}'):
            assert code(client.post(address(listener, token, "s"), payload)) == "4.00"
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == 5
    assert state(acme).reported == {}
