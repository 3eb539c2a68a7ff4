"""`/latest`: a device reads its own values, and observes them."""

import json
import time
from typing import Any

import cbor2
import pytest
from aiocoap import GET
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DeviceCredential
from devices.services import revoke_credential
from protocols.coap import gate, latest
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.coap.conftest import Client, RunListener, address, issue_token, observe
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_device_reads_its_newest_values(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    now = int(time.time() * 1000)
    with run_listener() as listener:
        client.post(address(listener, token, "t"), json.dumps({"ts": now, "values": {"temperature": 21.5}}))
        answer = client.request(GET, address(listener, token))
        assert json.loads(answer.payload)["temperature"] | {"unit": ""} == {"value": 21.5, "ts": now, "quality": "good", "unit": ""}
        in_cbor = client.request(GET, address(listener, token), accept=60)
        assert cbor2.loads(in_cbor.payload)["temperature"]["value"] == 21.5
        assert str(client.request(GET, address(listener, token), accept=41).code)[:4] == "4.06"
        again = client.request(GET, address(listener, token), etags=[answer.opt.etag])
        assert (str(again.code)[:4], again.payload) == ("2.03", b"")


def test_many_values_come_in_blocks(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    with run_listener() as listener:
        client.post(address(listener, token, "t"), json.dumps({f"metric_{n}": n for n in range(60)}))
        assert len(json.loads(client.request(GET, address(listener, token)).payload)) == 60


def test_nobody_reads_what_is_another_devices(
    acme: Tenant, globex: Tenant, token: str, make_device: MakeDevice, client: Client, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        neighbour = issue_token(make_device("pump-8"))
    with tenant_context(globex):
        outsider = issue_token(make_device("pump-7"))
    with run_listener() as listener:
        client.post(address(listener, token, "t"), '{"temperature": 21.5}')
        for other in (neighbour, outsider):
            assert json.loads(client.request(GET, address(listener, other)).payload) == {}
        assert str(client.request(GET, address(listener, "")).code)[:4] == "4.01"


def test_an_observer_hears_of_changes_until_its_token_is_revoked(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(gate, "KNOWN_SECONDS", 0.3)
    seen: list[Any] = []
    with run_listener() as listener:
        observe(client, address(listener, token), seen)
        for value in (1, 2):
            client.post(address(listener, token, "t"), json.dumps({"temperature": value}))
            wait_until(lambda value=value: json.loads(seen[-1].payload or "{}").get("temperature", {}).get("value") == value)  # type: ignore[misc]
        with tenant_context(acme):
            revoke_credential(credential=DeviceCredential.objects.get(), now=timezone.now())
        wait_until(lambda: str(seen[-1].code)[:4] == "4.01" or not listener._door._latest._observers)  # type: ignore[union-attr]


def test_a_device_has_a_few_observers_and_no_more(token: str, client: Client, run_listener: RunListener) -> None:
    seen: list[Any] = []
    with run_listener() as listener:
        for _ in range(latest.MAX_PER_DEVICE + 2):
            observe(client, address(listener, token), seen)
        assert sum(answer.opt.observe is not None for answer in seen) == latest.MAX_PER_DEVICE
