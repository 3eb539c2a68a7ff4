"""A device over HTTP waits for its commands with one open request."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import queue_command
from devices.models import Command, Device, DeviceCredential
from devices.services import issue_credential, revoke_credential
from iiot_site.long_poll import MAX_PER_DEVICE, LongPoll, wanted_seconds
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS
from tests.web_server import run_web_server

PATH = "/api/v1/device/commands"
SETTLE_SECONDS = 1.0  # in which the questions come to wait; were it too short, they would be answered all the same


@pytest.fixture
def server(process_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with run_web_server(process_env, tmp_path / "uvicorn.log") as address:
        yield address


def ask(server: str, token: str, wait: int) -> tuple[int, Any, float]:
    """Return status, document and how long it took."""
    began = time.monotonic()
    request = urllib.request.Request(f"{server}{PATH}?wait={wait}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=2 * WAIT_SECONDS) as answer:
            assert not any("waits-for" in name.lower() for name in answer.headers)
            return answer.status, json.load(answer), time.monotonic() - began
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, None, time.monotonic() - began


def make_pump(tenant: Tenant, make_device: MakeDevice, key: str) -> tuple[Device, str]:
    with tenant_context(tenant):
        device = make_device(key, protocol="http")
        return device, issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_open_question_is_answered_when_a_command_for_this_device_is_queued(
    acme: Tenant, globex: Tenant, make_device: MakeDevice, server: str
) -> None:
    pump, token = make_pump(acme, make_device, "pump-7")
    _, revoked = make_pump(acme, make_device, "pump-8")
    _, foreign = make_pump(globex, make_device, "pump-7")
    with ThreadPoolExecutor(3) as pool:
        own, others, ended = (pool.submit(ask, server, who, seconds) for who, seconds in ((token, 60), (foreign, 2), (revoked, 60)))
        time.sleep(SETTLE_SECONDS)
        with tenant_context(acme):
            revoke_credential(credential=DeviceCredential.objects.get(device__key="pump-8"), now=timezone.now())
            queue_command(device=Device.objects.get(key="pump-8"), name="reboot", payload=None, now=timezone.now())
            queue_command(device=pump, name="stop", payload=None, now=timezone.now())
        status, document, seconds = own.result()
        assert (status, [command["name"] for command in document["commands"]]) == (200, ["stop"])
        assert seconds < 60  # not only when the time was over
        assert others.result()[:2] == (200, {"commands": []})
        assert ended.result()[0] == 401
    assert ask(server, "wrong", 20)[0] == 401
    with tenant_context(acme):
        assert dict(Command.objects.values_list("name", "state")) == {"stop": "sent", "reboot": "queued"}


@pytest.mark.parametrize(
    ("query", "path", "seconds"),
    [
        ("wait=30", PATH, 30),
        ("wait=30", f"/t/acme{PATH}/", 30),
        ("wait=9000", PATH, 60),
        ("wait=0", PATH, 0),
        ("wait=-1", PATH, 0),
        ("wait=x", PATH, 0),
        ("wait=²", PATH, 0),
        ("wait=" + "9" * 9, PATH, 0),
        ("", PATH, 0),
        ("wait=30", "/api/v1/devices", 0),
    ],
)
def test_who_may_wait_and_how_long(query: str, path: str, seconds: float) -> None:
    assert wanted_seconds({"type": "http", "method": "GET", "path": path, "query_string": query.encode()}) == seconds


async def test_a_device_has_a_few_open_questions_and_no_more() -> None:
    notices = LongPoll(None)._notices  # type: ignore[arg-type]  # nothing is asked
    notices._thread = None
    entry = asyncio.get_running_loop(), asyncio.Event()
    notices._waiting["t_acme pump-7"] = [entry] * MAX_PER_DEVICE
    assert not notices.has_room("t_acme pump-7")
    assert notices.has_room("t_acme pump-8")
    notices.wake("t_acme pump-8")
    await asyncio.sleep(0)
    assert not entry[1].is_set()
    notices.wake("t_acme pump-7")
    await asyncio.wait_for(entry[1].wait(), WAIT_SECONDS)
