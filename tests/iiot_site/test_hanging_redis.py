"""A Redis that hangs (stopped, its port still open) holds nobody up: readings are stored, people log in, pages open."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import DeviceCredential
from devices.services import issue_credential
from rules.models import Rule
from telemetry.models import Reading
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.conftest import PASSWORD, MakeDevice
from tests.web_server import run_web_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

FIRST_SECONDS = 4.0  # several time-outs of half a second, on a busy machine; ten seconds and more without the guard
LATER_SECONDS = 1.5


@dataclass(frozen=True)
class Redis:
    """A Redis of the test's own."""

    url: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield Redis(f"redis://127.0.0.1:{port}", process)
    process.kill()  # also while it is stopped
    process.wait()


def ask(url: str, body: object = None, token: str = "") -> tuple[int, float]:
    """Return the status of the answer, and the seconds it took."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    begin = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, time.monotonic() - begin
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, time.monotonic() - begin


def test_a_redis_that_hangs_delays_the_first_request_a_little_and_the_next_ones_not(
    acme: Tenant,
    acme_operator: User,
    make_device: MakeDevice,
    process_env: dict[str, str],
    redis_server: Redis,
    tmp_path: Path,
) -> None:
    with tenant_context(acme):
        device = make_device()
        Rule.objects.create(name="Hot", condition={"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0})
        token = issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=timezone.now()).secret
    hasher = Argon2PasswordHasher()  # the process has the product's settings
    User.objects.filter(pk=acme_operator.pk).update(password=hasher.encode(PASSWORD, hasher.salt()))
    access = issue_tokens(user=User.objects.get(pk=acme_operator.pk), tenant=acme, now=timezone.now()).access
    with run_web_server({**process_env, "REDIS_URL": redis_server.url}, tmp_path / "web.log") as url:
        send: Callable[[int], tuple[int, float]] = lambda value: ask(f"{url}/api/v1/telemetry", {"temperature": value}, token)  # noqa: E731
        credentials = {"email": acme_operator.email, "password": PASSWORD}
        assert send(1)[0] == 200  # so that connections are open
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        first = send(2)
        later = [send(3), ask(f"{url}/api/v1/auth/login", credentials), ask(f"{url}/api/v1/devices", None, access)]
    assert first[0] == 200
    assert [status for status, _ in later] == [200, 200, 200]
    assert first[1] < FIRST_SECONDS
    assert max(seconds for _, seconds in later) < LATER_SECONDS
    log = (tmp_path / "web.log").read_text()
    assert log.count("is left alone") <= 2  # by the guard, and by the look-ups with their own: once each, not with every message
    with tenant_context(acme):
        assert set(Reading.objects.values_list("value", flat=True)) >= {2.0, 3.0}
