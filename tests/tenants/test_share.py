"""One tenant's requests take their share of the web process, and give it back whatever becomes of them."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.services import issue_credential
from iiot_site.lib import turns as module
from iiot_site.lib.turns import count_as_long, turns
from iiot_site.web_handler import ThreadedHandler
from protocols.amqp.access_middleware import may_log_in
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser, MakeDevice
from tests.waiting import WAIT_SECONDS

is_working, may_go_on = threading.Event(), threading.Event()


def fail(_: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault of ours")


def show_long(request: HttpRequest) -> HttpResponse:
    count_as_long(request)
    return HttpResponse(str(turns.count("acme")))


def work(request: HttpRequest) -> StreamingHttpResponse:
    is_working.set()
    may_go_on.wait(WAIT_SECONDS)
    return stream(request)


def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(count_for_ever())


async def count_for_ever() -> AsyncIterator[bytes]:
    while True:
        yield b"more"
        await asyncio.sleep(0.001)


urlpatterns = [path("fail", fail), path("long", show_long), path("work", work), path("stream", stream)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    is_working.clear()
    may_go_on.clear()
    yield
    assert turns.count("acme") == (0, 0), "a turn was not given back"


@pytest.fixture
def _full(settings: LazySettings) -> Iterator[None]:
    """Acme has its share in work."""
    settings.IIOT_DB_POOL_SIZE = 4
    with turns.turn("acme"), turns.turn("acme"):
        yield


@pytest.mark.usefixtures("_full")
def test_the_api_answers_503_in_its_own_words_and_other_tenants_go_on(
    acme: Tenant, globex: Tenant, acme_viewer: User, globex_admin: User, api: MakeApi
) -> None:
    for address in ("/api/v1/devices", "/t/acme/api/v1/devices"):
        answer = api(acme_viewer, acme).get(address)
        assert (answer.status_code, answer.json()["code"], answer.json()["errors"]) == (503, "unavailable", {})
        assert int(answer.headers["Retry-After"]) > 0
    assert api(globex_admin, globex).get("/t/globex/api/v1/devices").status_code == 200


@pytest.mark.usefixtures("_full")
def test_a_page_says_so_and_pages_of_no_tenant_go_on(acme_viewer: User, browser: MakeBrowser) -> None:
    answer = browser(acme_viewer).get("/t/acme/devices")
    assert answer.status_code == 503
    assert "more requests in work than its share" in answer.content.decode()
    assert Client().get("/login").status_code == 200


@pytest.mark.usefixtures("_full")
def test_an_invented_token_of_a_device_asks_for_no_table_of_the_tenant(acme: Tenant, django_assert_num_queries: Any) -> None:
    token = f"iiot_dev_acme.{'0' * 12}.{'A' * 43}"
    client = Client(headers={"authorization": f"Bearer {token}"})
    client.get("/login")  # what is known of hosts and tenants is known for some seconds
    client.get("/t/acme/api/v1/sites")
    for method, address in (("POST", "/api/v1/telemetry"), ("GET", "/api/v1/device/commands"), ("GET", "/api/v1/device/state")):
        with django_assert_num_queries(0):
            assert client.generic(method, address, b"{}", content_type="application/json").status_code == 503


@pytest.mark.usefixtures("_full")
def test_the_broker_is_refused_where_it_asks_for_a_tenant_that_has_its_share(client: Client, settings: LazySettings) -> None:
    settings.IIOT_BROKER_SECRET = "hidden"
    question = {"username": "acme/pump-7", "password": "x"}
    assert client.post("/internal/broker/hidden/user", question).content == b"deny"


@pytest.fixture
def _own_pages(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below /t/acme/ stand the views of this file, for anybody, and no database is asked."""
    acme = Tenant(slug="acme", schema_name="t_acme", status=Tenant.Status.ACTIVE)
    monkeypatch.setattr("tenants.middleware.get_slug_by_host", lambda _: None)
    monkeypatch.setattr("tenants.middleware.get_active_tenant", lambda _: acme)
    monkeypatch.setattr("tenants.middleware.TENANT_URLCONF", __name__)
    settings.MIDDLEWARE = ["tenants.middleware.TenantMiddleware"]


def test_refusals_give_the_turn_back(acme_viewer: User, browser: MakeBrowser) -> None:
    assert browser(acme_viewer).get("/t/acme/nowhere").status_code == 404
    assert Client().get("/t/acme/devices").status_code == 302
    assert not may_log_in({"username": "acme/pump-7", "password": "x"})


@pytest.mark.usefixtures("_own_pages")
def test_a_fault_gives_the_turn_back() -> None:
    assert Client(raise_request_exception=False).get("/t/acme/fail").status_code == 500


@pytest.mark.usefixtures("_own_pages")
def test_long_requests_are_counted_apart(settings: LazySettings) -> None:
    settings.IIOT_TENANT_LONG_REQUESTS = 1
    assert Client().get("/t/acme/long").content == b"(1, 1)"
    turn = turns.take("acme", is_long=True)
    answer = Client().get("/t/acme/long")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert "as many long requests" in answer.content.decode()
    turn.leave()
    assert Client().get("/t/acme/long").content == b"(1, 1)"


class Asking:
    """A request to the handler that a test hangs up or cancels."""

    def __init__(self, address: str) -> None:
        self._scope = {"type": "http", "method": "GET", "path": address, "query_string": b"", "headers": [(b"host", b"localhost")]}
        self._has_asked = False
        self._is_over = asyncio.Event()
        self.got_part = asyncio.Event()
        self.task = asyncio.create_task(ThreadedHandler()(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b""}
        await self._is_over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message.get("body"):
            self.got_part.set()

    async def hang_up(self) -> None:
        self._is_over.set()
        await asyncio.wait_for(self.task, WAIT_SECONDS)


@pytest.mark.usefixtures("_own_pages")
async def test_an_answer_that_is_made_while_it_is_sent_counts_until_the_client_has_gone() -> None:
    asking = Asking("/t/acme/stream")
    await asyncio.wait_for(asking.got_part.wait(), WAIT_SECONDS)
    assert turns.count("acme") == (1, 0)
    await asking.hang_up()


@pytest.mark.usefixtures("_own_pages")
async def test_a_request_that_nobody_waits_for_any_more_counts_until_its_work_is_done() -> None:
    asking = Asking("/t/acme/work")
    await asyncio.to_thread(is_working.wait, WAIT_SECONDS)
    asking.task.cancel()
    await asyncio.wait([asking.task])
    assert turns.count("acme") == (1, 0)
    may_go_on.set()
    async with asyncio.timeout(WAIT_SECONDS):
        while turns.count("acme") != (0, 0):
            await asyncio.sleep(0.001)


@pytest.mark.django_db(transaction=True)
def test_a_locked_table_is_a_503_and_leaves_the_tenant_two_turns(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        token = issue_credential(device=make_device(), kind="token", now=timezone.now()).secret
    client = Client(headers={"authorization": f"Bearer {token}"})

    def post() -> int:
        return client.post("/api/v1/telemetry", json.dumps({"temperature": 1}), content_type="application/json").status_code

    assert post() == 200
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    config = connection.get_connection_params()
    login = {name: config[name] for name in ("host", "port", "user", "password", "dbname") if config.get(name)}
    with psycopg.connect(**login) as other:
        other.execute(f"LOCK TABLE {acme.schema_name}.devices_devicecredential IN ACCESS EXCLUSIVE MODE")
        assert post() == 503
    with turns.turn("acme"), turns.turn("acme"):
        assert post() == 503
    assert post() == 200
    turns.forget_locks()
