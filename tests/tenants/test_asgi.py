"""Under the real web server, requests to two tenants at the same time never see each other's schema."""

import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Site
from tenants.connection import connection
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.waiting import WAIT_SECONDS
from tests.web_server import run_web_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

REQUESTS = 240
AT_ONCE = 32
POOL = 20


def get(url: str, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


@pytest.fixture
def server(process_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with run_web_server(process_env, tmp_path / "uvicorn.log") as address:
        yield address


def test_concurrent_requests_to_two_tenants_each_see_their_own(
    acme: Tenant, globex: Tenant, acme_viewer: User, globex_admin: User, server: str
) -> None:
    headers = {}
    for tenant, person in ((acme, acme_viewer), (globex, globex_admin)):
        with tenant_context(tenant):
            Site.objects.create(name=f"{tenant.slug} hall")
        token = issue_tokens(user=person, tenant=tenant, now=timezone.now()).access
        headers[tenant.slug] = {"Authorization": f"Bearer {token}"}

    def ask(number: int) -> tuple[object, object]:
        slug, other = random.Random(number).choice([("acme", "globex"), ("globex", "acme")])
        if number % 5 == 0:
            return get(f"{server}/t/{other}/api/v1/sites", headers[slug])[0], 404
        if number % 7 == 0:
            return get(f"{server}/t/{slug}/api/v1/sites", {})[0], 401
        prefix = "" if number % 2 else f"/t/{slug}"
        status, body = get(f"{server}{prefix}/api/v1/sites", headers[slug])
        rows = body.get("results")
        assert isinstance(rows, list), (status, body)
        return [row["name"] for row in rows], [f"{slug} hall"]

    for slug in headers:  # a server that has just started is slow, and a tenant waits five seconds for its share at most
        assert get(f"{server}/t/{slug}/api/v1/sites", headers[slug])[0] == 200
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(REQUESTS)))
    assert [answer for answer in answers if answer[0] != answer[1]] == []
    with connection.cursor() as cursor:
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND query NOT LIKE 'LISTEN%'"
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")
        assert cursor.fetchone()[0] <= POOL
