"""OSCORE with a foreign client: libcoap's, where IIOT_COAP_CLIENT names a `coap-client` that has it (4.3.2 or later)."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.connecting import list_examples
from devices.models import Command, Device, DeviceCredential
from devices.services import issue_credential
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.coap.conftest import RunListener, values
from tests.protocols.coap.test_commands import queue
from tests.waiting import WAIT_SECONDS, wait_until

CLIENT = os.environ.get("IIOT_COAP_CLIENT", "")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not Path(CLIENT).is_file(), reason="IIOT_COAP_CLIENT names no coap-client with OSCORE"),
]


def test_libcoap_sends_reads_observes_and_answers_with_the_file_that_we_show(
    acme: Tenant, make_device: MakeDevice, run_listener: RunListener, tmp_path: Path
) -> None:
    with tenant_context(acme):
        pump = make_device("pump-7", protocol="coap")
        issued = issue_credential(device=pump, kind=DeviceCredential.Kind.OSCORE, now=timezone.now())
        (example,) = list_examples(device=pump, issued=issued, base_url="http://localhost")
    (tmp_path / "keys").write_text(example.text + "\n")

    def run(port: int, path: str, *arguments: str, keys: str = "keys,sequence") -> str:
        command = [CLIENT, "-E", keys, *arguments, f"coap://127.0.0.1:{port}/{path}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)
        return done.stdout + done.stderr

    now_ms = int(timezone.now().timestamp() * 1000)
    many = [{"ts": now_ms - n, "values": {"temperature": n}} for n in range(100)]
    (tmp_path / "many.json").write_text(json.dumps(many))
    with run_listener() as listener:
        run(listener.port, "t", "-m", "post", "-t", "50", "-e", '{"temperature": 21.5}')
        assert values(acme) == [21.5]
        run(listener.port, "t", "-m", "post", "-t", "50", "-b", "512", "-f", "many.json")
        assert len(values(acme)) == 101
        assert "4.01" in run(listener.port, "t", "-m", "post", "-t", "50", "-e", "1", keys="keys")  # a replay: it counts from 0 again
        first = queue(acme)
        assert first in run(listener.port, "c", "-m", "get", "-s", "1")
        run(listener.port, f"c/{first}", "-m", "post", "-t", "50", "-e", '{"status": "ok"}')
        with tenant_context(acme):
            wait_until(lambda: Command.objects.get().state == "acknowledged")
            assert Device.objects.get().last_seen_via == "coap"
    with run_listener() as listener:  # has forgotten which numbers were used, and asks with Echo
        run(listener.port, "t", "-m", "post", "-t", "50", "-e", '{"temperature": 22.5}')
        assert 22.5 in values(acme)
