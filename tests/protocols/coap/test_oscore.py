"""OSCORE with aiocoap's client: no token, nothing readable on the way, nothing accepted twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiocoap import GET, UNAUTHORIZED
from aiocoap.oscore import NotAProtectedMessage
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DeviceCredential
from devices.services import issue_credential, revoke_credential
from protocols.coap import oscore
from protocols.coap.sequence import RANGE, STEP, SequenceFile
from telemetry.models import IngestLedger
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.coap.conftest import Client, RunListener, Wire, protect, values

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def keys(acme: Tenant, make_device: MakeDevice) -> dict[str, str]:
    with tenant_context(acme):
        device = make_device("pump-7")
        return dict(issue_credential(device=device, kind=DeviceCredential.Kind.OSCORE, now=timezone.now()).oscore)


def test_a_device_needs_no_token_under_oscore(
    acme: Tenant, keys: dict[str, str], client: Client, run_listener: RunListener, tmp_path: Path
) -> None:
    with run_listener() as listener:
        base = protect(client, listener.port, keys, tmp_path / "client")
        for number in range(3):
            assert str(client.post(f"{base}/t", json.dumps({"temperature": number}), content_format=50).code)[:4] == "2.04"
        assert str(client.post(f"{base}/t", "{", content_format=50).code)[:4] == "4.00"
        assert json.loads(client.request(GET, f"{base}/latest").payload)["temperature"]["value"] == 2
        assert b"</t>" in client.request(GET, f"{base}/.well-known/core").payload
        assert str(client.request(GET, f"{base}/elsewhere").code)[:4] == "4.04"
    assert values(acme) == [0, 1, 2]
    with tenant_context(acme):
        assert sum(entry.messages for entry in IngestLedger.objects.all()) == 4


def test_a_large_message_comes_in_blocks_under_oscore(
    acme: Tenant, keys: dict[str, str], client: Client, run_listener: RunListener, tmp_path: Path
) -> None:
    with run_listener() as listener:
        base = protect(client, listener.port, keys, tmp_path / "client")
        body = json.dumps({"temperature": 7, "note": "x" * 5_000})
        assert client.post(f"{base}/t", body, content_format=50).code.is_successful()
    assert 7 in values(acme)


def test_a_restarted_listener_asks_for_a_sign_of_life_and_goes_on(
    acme: Tenant, keys: dict[str, str], client: Client, run_listener: RunListener, tmp_path: Path
) -> None:
    with run_listener() as listener:
        port = listener.port
        base = protect(client, port, keys, tmp_path / "client")
        assert client.post(f"{base}/t", '{"temperature": 0}', content_format=50).code.is_successful()
    with run_listener(port=port):
        assert client.post(f"{base}/t", '{"temperature": 1}', content_format=50).code.is_successful()
    assert values(acme) == [0, 1]


def test_a_recorded_request_is_not_taken_again(
    acme: Tenant, keys: dict[str, str], client: Client, run_listener: RunListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[bytes] = []
    with run_listener() as listener:
        base = protect(client, listener.port, keys, tmp_path / "client")
        transport = listener._door.request_interfaces[0].token_interface.message_interface  # type: ignore[union-attr]
        receive = transport.datagram_msg_received

        def record(data: bytes, *rest: Any) -> None:
            recorded.append(data)
            receive(data, *rest)

        monkeypatch.setattr(transport, "datagram_msg_received", record)
        assert client.post(f"{base}/t", '{"temperature": 1}', content_format=50).code.is_successful()
        assert not any(b"temperature" in datagram for datagram in recorded)
        wire = Wire(listener.port)
        answers = [wire.ask(datagram) for datagram in list(recorded) if len(datagram) > 20]
        wire.close()
    assert [answer[1] for answer in answers if answer] == [0x81] * len(answers)  # 4.01
    assert values(acme) == [1]


def test_a_revoked_key_is_unknown(
    acme: Tenant, keys: dict[str, str], client: Client, run_listener: RunListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oscore, "REFRESH_SECONDS", 0)
    with run_listener() as listener:
        base = protect(client, listener.port, keys, tmp_path / "client")
        assert client.post(f"{base}/t", '{"temperature": 1}').code.is_successful()
        with tenant_context(acme):
            revoke_credential(credential=DeviceCredential.objects.get(), now=timezone.now())
        with pytest.raises(NotAProtectedMessage) as refusal:  # which a server that knows no key cannot protect
            client.post(f"{base}/t", '{"temperature": 2}')
    assert refusal.value.plain_message.code == UNAUTHORIZED
    assert values(acme) == [1]


def test_a_range_is_written_down_before_the_former_one_is_used_up(tmp_path: Path) -> None:
    path = tmp_path / "oscore" / "sequence"
    sequence = SequenceFile(path)
    for _ in range(STEP // RANGE + 1):
        last = sequence.reserve()
    assert last.stop <= int(path.read_text())


def test_sequence_numbers_are_reserved_once_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "oscore" / "sequence"
    sequence = SequenceFile(path)
    first, second = sequence.reserve(), sequence.reserve()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    third = SequenceFile(path).reserve()
    assert (second.start, len(second)) == (first.stop, RANGE)
    assert (third.start, len(third)) == (first.start + STEP, RANGE)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
