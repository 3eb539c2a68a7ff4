"""The CoAP server with a real client: 2.04 after the commit, every refusal with its code, nothing lost, a clean end."""

import json
import time
from typing import Any

import pytest
from aiocoap import DELETE, GET, PUT
from django.conf import LazySettings
from django.db import OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential
from devices.services import revoke_credential
from protocols import writer
from protocols.coap import gate
from protocols.coap.refusals import NOT_LET_IN
from protocols.models import ListenerState
from protocols.pipeline import process_messages
from telemetry.models import IngestLedger, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.ports import free_port
from tests.protocols.coap.conftest import Client, RunListener, Wire, issue_token, post_datagram, values
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def url(listener: Any, token: str, path: str = "t") -> str:
    return f"coap://127.0.0.1:{listener.port}/{path}?token={token}"


def test_a_message_is_in_the_database_when_its_answer_comes(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    with run_listener() as listener:
        for number in range(5):
            answer = client.post(url(listener, token), json.dumps({"temperature": number}), content_format=50)
            assert str(answer.code) == "2.04 Changed"
            assert values(acme) == list(range(number + 1))
    state = ListenerState.objects.get()
    assert (state.name, state.state, state.messages, state.rejected) == ("coap", "stopped", 5, 0)


@pytest.mark.parametrize(
    ("content_format", "payload"),
    [
        (None, b'{"temperature": 21.5}'),
        (0, b"temperature value=21.5"),
        (50, b'{"temperature": 21.5}'),
        (60, b"\xa1\x6btemperature\xf9\x4d\x60"),
        (110, b'[{"n": "temperature", "v": 21.5}]'),
        (112, b"\x81\xa2\x00\x6btemperature\x02\xf9\x4d\x60"),
    ],
)
def test_every_content_format_ends_in_the_same_reading(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, content_format: int | None, payload: bytes
) -> None:
    options = {} if content_format is None else {"content_format": content_format}
    with run_listener() as listener:
        assert client.post(url(listener, token), payload, **options).code.is_successful()
    assert values(acme) == [21.5]


@pytest.mark.parametrize(
    "sent",
    [
        (50, b"{", "4.00", "malformed_json"),
        (42, b"\0\1", "4.15", "unsupported_format"),
        (60, b"\xff", "4.00", "malformed_cbor"),
        (50, b" " * 300_000, "4.13", "too_large"),
    ],
)
def test_what_is_refused_says_why_and_is_in_the_ledger(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, sent: tuple[int, bytes, str, str]
) -> None:
    content_format, payload, code, reason = sent
    with run_listener() as listener:
        answer = client.post(url(listener, token), payload, content_format=content_format, seconds=60)
    assert str(answer.code).startswith(code)
    if reason != "too_large":  # aiocoap's client makes nothing of the text of an answer to a middle block
        assert answer.payload.decode().startswith(reason)
    with tenant_context(acme):
        assert [row.reason for row in RejectedMessage.objects.all()] == [reason]
        assert [(row.messages, row.messages_rejected) for row in IngestLedger.objects.all()] == [(1, 1)]


def test_a_large_message_comes_in_blocks(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    now = int(time.time() * 1000)
    message = json.dumps([{"ts": now - n, "values": {"temperature": n}} for n in range(1_000)])
    with run_listener() as listener:
        assert client.post(url(listener, token), message, content_format=50, seconds=30).code.is_successful()
    assert len(values(acme)) == 1_000


def test_nobody_gets_in_without_a_valid_token(
    acme: Tenant, globex: Tenant, token: str, make_device: MakeDevice, client: Client, run_listener: RunListener
) -> None:
    tenant, prefix, secret = token.removeprefix("iiot_dev_").split(".", 2)[0], *token.split(".", 2)[1:]
    with run_listener() as listener:
        for wrong in (
            "",
            "x",
            f"iiot_dev_globex.{prefix}.{secret}",
            f"iiot_dev_{tenant}.{prefix}.{secret[:-1]}~",
            f"iiot_dev_nobody.{prefix}.{secret}",
        ):
            answer = client.post(url(listener, wrong), '{"temperature": 1}')
            assert (str(answer.code)[:4], answer.payload) == ("4.01", NOT_LET_IN.payload)
    assert (values(acme), values(globex)) == ([], [])
    assert ListenerState.objects.get().messages == 0


def test_a_device_writes_for_itself_whatever_its_message_says(
    acme: Tenant, globex: Tenant, token: str, make_device: MakeDevice, client: Client, run_listener: RunListener
) -> None:
    with tenant_context(globex):
        other = issue_token(make_device("pump-7"))
    with run_listener() as listener:
        client.post(url(listener, token), '{"temperature": 1}')
        client.post(url(listener, other), '{"temperature": 2}')
        answer = client.post(url(listener, token), '[{"bn": "pump-8:", "n": "temperature", "v": 3}]', content_format=110)
        assert answer.payload.startswith(b"other_device")
    assert (values(acme), values(globex)) == ([1], [2])


def test_a_revoked_token_is_no_longer_let_in(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "KNOWN_SECONDS", 0.3)
    with run_listener() as listener:
        assert client.post(url(listener, token), '{"temperature": 1}').code.is_successful()
        with tenant_context(acme):
            revoke_credential(credential=DeviceCredential.objects.get(), now=timezone.now())
        time.sleep(0.4)
        assert str(client.post(url(listener, token), '{"temperature": 2}').code)[:4] == "4.01"
    assert values(acme) == [1]


def test_a_disabled_device_is_refused_and_counted(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    with tenant_context(acme):
        Device.objects.update(is_enabled=False)
    with run_listener() as listener:
        assert str(client.post(url(listener, token), '{"temperature": 1}').code)[:4] == "4.03"
    with tenant_context(acme):
        assert RejectedMessage.objects.get().reason == "device_disabled"


def test_an_unknown_critical_option_is_refused(token: str, run_listener: RunListener) -> None:
    with run_listener() as listener:
        wire = Wire(listener.port)
        unknown = b"\xe0\x1c\x33"  # option 7,509, without a value
        answer = wire.ask(post_datagram(token, b"1", mid=3, tail=unknown))
        assert answer is not None
        assert answer[1] == 0x82
        wire.close()


@pytest.mark.parametrize(
    ("code", "path", "expected"), [(GET, "t", "4.05"), (PUT, "t", "4.05"), (DELETE, ".well-known/core", "4.05"), (GET, "x", "4.04")]
)
def test_other_methods_and_paths_are_refused(
    token: str, client: Client, run_listener: RunListener, code: Any, path: str, expected: str
) -> None:
    with run_listener() as listener:
        assert str(client.request(code, url(listener, token, path)).code)[:4] == expected


def test_the_links_can_be_read_by_anybody_and_filtered(client: Client, run_listener: RunListener) -> None:
    with run_listener() as listener:
        core = f"coap://127.0.0.1:{listener.port}/.well-known/core"
        answer = client.request(GET, core)
        assert (int(answer.opt.content_format), answer.payload.decode().split(";")[0]) == (40, "</t>")
        assert b"</t>" in client.request(GET, f"{core}?rt=iiot.*").payload
        assert client.request(GET, f"{core}?rt=other").payload == b""


def test_a_full_buffer_says_when_to_come_again(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_listener() as listener:
        monkeypatch.setattr(listener._core._buffer, "offer", lambda _: False)
        answer = client.post(url(listener, token), '{"temperature": 1}')
    assert (str(answer.code)[:4], answer.opt.max_age) == ("5.03", 2)


def test_only_so_many_requests_wait_for_the_database(
    token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_listener() as listener:
        assert str(client.request(GET, url(listener, token, "latest")).code)[:4] == "2.05"
        monkeypatch.setattr("protocols.coap.door.MAX_LOOKED_UP", 0)
        assert str(client.request(GET, url(listener, token, "latest")).code)[:4] == "5.03"


def test_nothing_is_answered_before_it_is_committed(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def fail(**batch: Any) -> Any:
        attempts.append(len(batch["messages"]))
        if len(attempts) < 3:
            raise OperationalError("the database is away")
        return process_messages(**batch)

    monkeypatch.setattr(writer, "process_messages", fail)
    monkeypatch.setattr(writer, "FIRST_RETRY_SECONDS", 0.8)
    with run_listener() as listener:  # an empty acknowledgement first, the answer by itself
        started = time.monotonic()
        assert client.post(url(listener, token), '{"temperature": 1}').code.is_successful()
        assert time.monotonic() - started > 1.5
    assert (values(acme), len(attempts)) == ([1], 3)


def test_who_waits_when_the_listener_ends_hears_that_it_did_not_work_out(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DRAIN_SECONDS", 0.0)
    with monkeypatch.context() as patch, run_listener() as listener:

        def fail(**_: Any) -> Any:
            listener.request_stop()
            raise OperationalError("the database is away")

        patch.setattr(writer, "process_messages", fail)
        assert str(client.post(url(listener, token), '{"temperature": 1}').code)[:4] == "5.03"
    assert values(acme) == []


# --- Repetitions, datagram by datagram


def test_a_repeated_request_gets_the_same_answer_and_is_stored_once(acme: Tenant, token: str, run_listener: RunListener) -> None:
    datagram = post_datagram(token, b'{"temperature": 5}', mid=77)
    with run_listener() as listener:
        wire = Wire(listener.port)
        first = wire.ask(datagram)
        assert first == b"\x62\x44\x00\x4d\xaa\xbb"  # ACK, 2.04, the same message id and token
        assert wire.ask(datagram) == first
        wire.close()
    assert values(acme) == [5]


def test_a_request_that_a_former_process_stored_is_recognised(acme: Tenant, token: str, run_listener: RunListener) -> None:
    port = free_port()
    wire = Wire(port)
    with run_listener(port=port):
        assert wire.ask(post_datagram(token, b'{"temperature": 5}', mid=77)) is not None
    with run_listener(port=port):
        assert wire.ask(post_datagram(token, b'{"temperature": 5}', mid=77)) == b"\x62\x44\x00\x4d\xaa\xbb"
        assert wire.ask(post_datagram(token, b'{"temperature": 5}', mid=78)) is not None
    wire.close()
    assert values(acme) == [5, 5]


def test_no_answer_is_sent_where_none_is_wanted(acme: Tenant, token: str, run_listener: RunListener) -> None:
    with run_listener() as listener:
        wire = Wire(listener.port, seconds=0.5)
        assert wire.ask(post_datagram(token, b'{"temperature": 5}', mid=1, confirmable=False, tail=b"\xd1\xe6\x1a")) is None
        wait_until(lambda: values(acme) == [5])
        wire.close()


def test_a_datagram_beyond_an_ethernet_frame_is_refused_unread(token: str, run_listener: RunListener, settings: LazySettings) -> None:
    with run_listener() as listener:
        wire = Wire(listener.port)
        assert wire.ask(post_datagram(token, b" " * 2_000, mid=9)) == b"\x62\x8d\x00\x09\xaa\xbb"
        wire.close()
