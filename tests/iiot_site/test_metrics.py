"""`/metrics`: what it says, and to whom."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from iiot_site import metrics
from iiot_site.web import metrics_middleware
from protocols.meter import Load
from protocols.services import Heartbeat, record_heartbeat
from telemetry.services import record_ingest
from telemetry.types import IngestCount
from tenants.models import Tenant

TOKEN = "a-token-of-more-than-thirty-characters"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    metrics_middleware.answers.clear()
    yield
    metrics_middleware.answers.clear()


@pytest.fixture
def traffic(acme: Tenant, globex: Tenant) -> None:
    now = timezone.now()
    load = Load(bytes=900, latency_p50_ms=20.0, latency_p99_ms=80.0, buffer_length=5, buffer_fill=0.1, cache_hits=99, cache_misses=1)
    record_heartbeat(heartbeat=Heartbeat("mqtt", "host", 1, "connected", now, 30, 2, "", load=load), now=now)
    with tenant_context(acme):
        record_ingest(count=IngestCount("mqtt", 10, 7, 1, {"wrong_type": 2}, 5, 0, 0), now=now)
    with tenant_context(globex):
        record_ingest(count=IngestCount("mqtt", 100, 100, 0, {}, 50, 0, 0), now=now)


def read(client: Client, **headers: str) -> dict[tuple[str, ...], float]:
    """Return the samples by name and the values of their labels."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    families = text_string_to_metric_families(response.content.decode())
    return {(s.name, *(s.labels[key] for key in sorted(s.labels))): s.value for family in families for s in family.samples}


def test_from_this_machine_it_tells_of_all_tenants_together(traffic: None, client: Client) -> None:
    found = read(client)
    assert found["iiot_ingest_values_total", "mqtt", "received"] == 110
    assert found["iiot_ingest_values_total", "mqtt", "stored"] == 107
    assert found["iiot_ingest_rejected_total", "mqtt", "wrong_type"] == 2
    assert found["iiot_ingest_messages_total", "mqtt"] == 55
    assert found["iiot_listener_connected", "mqtt", "1"] == 1
    assert found["iiot_listener_processes", "mqtt"] == 1
    assert found["iiot_listener_heartbeat_age_seconds", "mqtt", "1"] < 60
    assert found["iiot_listener_commit_latency_seconds", "mqtt", "1", "0.99"] == 0.08
    assert found["iiot_cache_lookups_total", "mqtt", "1", "hit"] == 99
    assert (found["iiot_up", "database"], found["iiot_up", "redis"]) == (1, 1)
    assert found["iiot_task_queue_length", "rules"] >= 0
    assert found["process_start_time_seconds",] > 0
    assert not any("acme" in key for key in found)


def test_with_the_token_it_tells_of_each_tenant(traffic: None, client: Client, settings: Settings) -> None:
    settings.IIOT_METRICS_TOKEN = TOKEN
    found = read(client, Authorization=f"Bearer {TOKEN}")
    assert found["iiot_ingest_values_total", "mqtt", "stored", "acme"] == 7
    assert found["iiot_ingest_values_total", "mqtt", "stored", "globex"] == 100
    response = client.get("/metrics", REMOTE_ADDR="203.0.113.7", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert not any("acme" in key for key in read(client))  # without it, from here


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.7", {}),
        ("203.0.113.7", {"Authorization": "Bearer wrong"}),
        ("203.0.113.7", {"Authorization": "Bearer "}),
        ("203.0.113.7", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.7"}),
        ("127.0.0.1", {"Host": "rebound.example"}),
    ],
)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_nobody_else_finds_it(address: str, headers: dict[str, str], token: str, client: Client, settings: Settings) -> None:
    settings.IIOT_METRICS_TOKEN = token
    response = client.get("/metrics", REMOTE_ADDR=address, headers=headers)
    assert (response.status_code, response.content) == (404, b"Not found.\n")


def test_behind_a_proxy_of_ours_the_client_counts(client: Client, settings: Settings) -> None:
    settings.IIOT_PROXY_COUNT = 1
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 404
    assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_without_database_and_redis_it_says_so(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("away")

    monkeypatch.setattr(metrics, "connect_directly", refuse)
    settings.REDIS_URL = "redis://127.0.0.1:1"
    found = read(client)
    assert (found["iiot_up", "database"], found["iiot_up", "redis"]) == (0, 0)


def test_only_get_is_answered(client: Client) -> None:
    assert client.post("/metrics").status_code == 405
