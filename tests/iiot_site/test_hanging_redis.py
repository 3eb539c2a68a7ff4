"""A Redis that hangs (stopped, its port still open) holds nobody up: readings are stored, people log in, pages open."""

import json
import os
import signal
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
from iiot_site.lib.redis_guard import PAUSE_SECONDS
from rules.models import Rule
from telemetry.models import Reading
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.conftest import PASSWORD, MakeDevice
from tests.ports import free_port
from tests.web_server import run_web_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

LONGEST_SECONDS = 5.0  # a time-out of half a second, on a busy machine; ten seconds and more without the guard
SLOWER_AT_MOST = 10  # besides, than with a Redis that answers


@dataclass(frozen=True)
class Redis:
    """A Redis of the test's own."""

    url: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    port = free_port()
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
        ask_all = lambda value: [send(value), ask(f"{url}/api/v1/auth/login", credentials), ask(f"{url}/api/v1/devices", None, access)]  # noqa: E731
        usual = ask_all(1)  # so that connections are open, too
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        answers = [*ask_all(2), *ask_all(3)]
    assert [status for status, _ in usual + answers] == [200] * 9
    assert max(seconds for _, seconds in answers) < LONGEST_SECONDS + SLOWER_AT_MOST * max(seconds for _, seconds in usual)
    log = (tmp_path / "web.log").read_text()
    # By the guard, and by the look-ups with their own: once each and pause, not with every message.
    assert 0 < log.count("is left alone") <= 2 + 2 * sum(seconds for _, seconds in answers) / PAUSE_SECONDS
    with tenant_context(acme):
        assert set(Reading.objects.values_list("value", flat=True)) >= {2.0, 3.0}
