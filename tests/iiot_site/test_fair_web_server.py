"""Under the real web server with a small pool: what one tenant does takes nothing from another."""

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.services import issue_credential
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS
from tests.web_server import run_web_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

POOL = 6
AT_ONCE = 24
Ask = Callable[[], int]


def ask(address: str, *, token: str = "", body: object = None) -> int:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=2 * WAIT_SECONDS) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture
def server(process_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with run_web_server({**process_env, "IIOT_DB_POOL_SIZE": str(POOL)}, tmp_path / "uvicorn.log") as address:
        yield address


@contextmanager
def repeating(question: Ask) -> Iterator[Counter[int]]:
    """Ask the same from many threads again and again, and count the answers."""
    answers: Counter[int] = Counter()
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.is_set():
            answers[question()] += 1

    threads = [threading.Thread(target=repeat) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        for thread in threads:
            thread.join(2 * WAIT_SECONDS)


def connect() -> "psycopg.Connection[tuple[object, ...]]":
    config = connection.get_connection_params()
    return psycopg.connect(**{name: config[name] for name in ("host", "port", "user", "password", "dbname") if config.get(name)})


def test_a_locked_table_takes_the_web_server_from_nobody_else(
    acme: Tenant, globex: Tenant, globex_admin: User, make_device: MakeDevice, server: str
) -> None:
    with tenant_context(globex):
        token = issue_credential(device=make_device(), kind="token", now=timezone.now()).secret
    person = issue_tokens(user=globex_admin, tenant=globex, now=timezone.now()).access
    invented = f"iiot_dev_acme.{'0' * 12}.{'A' * 43}"

    def ask_others() -> tuple[int, int]:
        return ask(f"{server}/api/v1/telemetry", token=token, body={"temperature": 21.5}), ask(f"{server}/api/v1/devices", token=person)

    assert ask_others() == (200, 200)
    with connect() as other:
        other.execute(f"LOCK TABLE {acme.schema_name}.devices_devicecredential IN ACCESS EXCLUSIVE MODE")
        with repeating(lambda: ask(f"{server}/api/v1/telemetry", token=invented, body={})) as answers:
            for _ in range(5):
                assert ask_others() == (200, 200)
                waiting = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
                assert waiting is not None
                assert int(str(waiting[0])) <= POOL // 2
        assert set(answers) == {503}
    assert ask(f"{server}/api/v1/telemetry", token=invented, body={}) == 401
