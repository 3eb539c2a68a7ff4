"""`/c`: a device hears what it shall do and answers, for itself and for nobody else."""

import asyncio
import json
import struct
import threading
from pathlib import Path
from typing import Any

import cbor2
import pytest
from aiocoap import GET, Message
from aiocoap.numbers.constants import Unreliable
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import queue_command
from devices.models import Command, Device, DeviceCredential
from devices.services import issue_credential
from protocols.coap import commands, door
from protocols.coap.desk import MAX_PER_DEVICE, Matter
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.coap.conftest import Client, RunListener, Wire, address, issue_token, observe, protect
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7", protocol="coap")


@pytest.fixture
def token(acme: Tenant) -> str:
    with tenant_context(acme):
        return issue_token(Device.objects.get())


def queue(tenant: Tenant, name: str = "set_speed", **details: Any) -> str:
    with tenant_context(tenant):
        device = Device.objects.get(key="pump-7")
        return str(queue_command(device=device, name=name, payload={"rpm": 1450}, now=timezone.now(), **details).pk)


def state(tenant: Tenant, command_id: str) -> str:
    with tenant_context(tenant):
        return Command.objects.get(pk=command_id).state


def code(answer: Any) -> str:
    return str(answer.code)[:4]


def test_a_device_asks_what_to_do_and_answers(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    first, second = queue(acme), queue(acme, "stop")
    with run_listener() as listener:
        answer = client.request(GET, address(listener, token, "c"))
        waiting = json.loads(answer.payload)["commands"]
        assert [(c["id"], c["name"], c["payload"]) for c in waiting] == [
            (first, "set_speed", {"rpm": 1450}),
            (second, "stop", {"rpm": 1450}),
        ]
        assert client.request(GET, address(listener, token, "c"), etags=[answer.opt.etag]).code.dotted == "2.03"
        wait_until(lambda: state(acme, first) == state(acme, second) == "sent")
        done = '{"status": "ok", "data": {"rpm": 1448}}'
        assert code(client.post(address(listener, token, f"c/{first}"), done)) == "2.04"
        assert code(client.post(address(listener, token, f"c/{first}"), done)) == "2.04"  # the same again
        in_cbor = cbor2.dumps({"status": "failed", "error": "valve stuck"})
        assert code(client.post(address(listener, token, f"c/{second}"), in_cbor, content_format=60)) == "2.04"
        assert code(client.post(address(listener, token, f"c/{second}"), done)) == "4.09"
        assert json.loads(client.request(GET, address(listener, token, "c")).payload) == {"commands": []}
    with tenant_context(acme):
        one, other = Command.objects.order_by("created_at")
        assert (one.state, one.response) == ("acknowledged", {"rpm": 1448})
        assert (other.state, other.error) == ("failed", "valve stuck")
        assert Device.objects.get().last_seen_via == "coap"


def test_an_answer_that_cannot_be_read_is_refused(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    command = queue(acme)
    unreadable = ("", "{", '{"status": "perhaps"}', '"ok"', '{"status": "ok", "error": 5}')
    with run_listener() as listener:
        for payload in unreadable:
            assert code(client.post(address(listener, token, f"c/{command}"), payload)) == "4.00"
        assert code(client.post(address(listener, token, "c/1"), '{"status": "ok"}')) == "4.00"
        assert code(client.request(GET, address(listener, token, f"c/{command}"))) == "4.05"
        assert code(client.post(address(listener, token, f"c/{command}/x"), "")) == "4.04"
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == len(unreadable) + 1
    assert state(acme, command) == "queued"


def test_nobody_reads_or_answers_what_is_another_devices(
    acme: Tenant, globex: Tenant, token: str, make_device: MakeDevice, client: Client, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        neighbour = issue_token(make_device("pump-8"))
    with tenant_context(globex):
        outsider = issue_token(make_device("pump-7"))
    with run_listener() as listener:
        seen: list[Any] = []
        for other in (neighbour, outsider):
            observe(client, address(listener, other, "c"), seen)
        observe(client, address(listener, token, "c"), seen)
        command = queue(acme)
        wait_until(lambda: state(acme, command) == "sent")
        assert [len(json.loads(answer.payload)["commands"]) for answer in seen] == [0, 0, 0, 1]
        for other in (neighbour, outsider):
            assert json.loads(client.request(GET, address(listener, other, "c")).payload) == {"commands": []}
            assert code(client.post(address(listener, other, f"c/{command}"), '{"status": "ok"}')) == "4.04"
        assert code(client.request(GET, address(listener, "", "c"))) == "4.01"
        assert code(client.post(address(listener, "", f"c/{command}"), '{"status": "ok"}')) == "4.01"
    assert state(acme, command) == "sent"


def test_a_device_under_oscore_hears_at_once_and_answers(acme: Tenant, client: Client, run_listener: RunListener, tmp_path: Path) -> None:
    with tenant_context(acme):
        keys = dict(issue_credential(device=Device.objects.get(), kind=DeviceCredential.Kind.OSCORE, now=timezone.now()).oscore)
    seen: list[Any] = []
    with run_listener() as listener:
        base = protect(client, listener.port, keys, tmp_path / "client")
        observe(client, f"{base}/c", seen)
        command = queue(acme)
        wait_until(lambda: len(seen) == 2)
        assert json.loads(seen[-1].payload)["commands"][0]["id"] == command
        wait_until(lambda: state(acme, command) == "sent")
        assert code(client.post(f"{base}/c/{command}", '{"status": "ok"}', content_format=50)) == "2.04"
    assert state(acme, command) == "acknowledged"


def test_a_command_is_sent_when_the_device_has_acknowledged_the_notification(acme: Tenant, token: str, run_listener: RunListener) -> None:
    query = f"k={token}".encode()
    get = struct.pack("!BBH", 0x42, 0x01, 1) + b"\xaa\xbb" + b"\x60" + b"\x51c" + bytes([0x4D, len(query) - 13]) + query
    with run_listener() as listener:
        wire = Wire(listener.port)
        first = wire.ask(get)
        assert first is not None
        assert first[1] == 0x45  # 2.05
        command = queue(acme)
        notification = wire.receive()
        assert notification is not None
        assert notification[0] & 0x30 == 0  # confirmable
        assert command.encode() in notification
        assert state(acme, command) == "queued"
        wire.send(b"\x60\x00" + notification[2:4])
        wait_until(lambda: state(acme, command) == "sent")
        queue(acme, "stop")
        notification = wire.receive()
        assert notification is not None
        wire.send(b"\x70\x00" + notification[2:4])  # a reset: no longer interested
        wait_until(lambda: not listener._has_observers())
        wire.close()


def test_too_many_questions_at_once_hold_up_nobody_else(
    token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = threading.Event()

    def wait_and_load(sender: Any) -> Any:
        is_open.wait(WAIT_SECONDS)
        return commands.load_commands(sender)

    slow = Matter(name="commands", load=wait_and_load, describe=commands.describe, note=commands.note_sent)
    monkeypatch.setattr(door, "COMMANDS", slow)

    async def ask(url: str) -> list[str]:
        count = MAX_PER_DEVICE + 2  # not confirmable: of those a client sends one at a time
        questions = [client.context.request(Message(code=GET, uri=url, transport_tuning=Unreliable())).response for _ in range(count)]
        first = await asyncio.wait(map(asyncio.ensure_future, questions), return_when=asyncio.FIRST_COMPLETED)
        is_open.set()
        return [code(answer) for answer in await asyncio.gather(*first[0], *first[1])]

    with run_listener() as listener:
        client.request(GET, address(listener, token))  # known by its token from now on
        answers = client.wait(ask(address(listener, token, "c")))
        assert sorted(answers) == ["2.05"] * MAX_PER_DEVICE + ["4.29"] * 2
        wait_until(lambda: code(client.request(GET, address(listener, token, "c"))) == "2.05")
