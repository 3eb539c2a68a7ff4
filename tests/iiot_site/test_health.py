"""Health: every dependency named, honest when one is away, quick in any case."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from iiot_site import health
from iiot_site.celery import BEAT_KEY, note_tick
from iiot_site.health import Check, run_checks
from iiot_site.lib.redis_guard import redis_client
from protocols.services import Heartbeat, record_heartbeat
from tests.waiting import WAIT_SECONDS

NAMES = {"postgres", "redis", "mqtt", "amqp", "worker", "beat", "listeners", "watch", "clock"}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    run_checks.cache_clear()
    yield
    run_checks.cache_clear()


@pytest.fixture
def all_well(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    checks: dict[str, object] = dict.fromkeys(NAMES, lambda: Check("ok"))
    monkeypatch.setattr(health, "CHECKS", checks)
    return checks


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/ready/", "/api/v1/health", "/api/v1/health/ready"])
def test_it_names_every_dependency_to_anybody(path: str, all_well: dict[str, object], client: Client) -> None:
    all_well["amqp"] = lambda: Check("off", "Run `apt-get install rabbitmq-server`.")
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert set(answer.json()["checks"]) == NAMES
    assert "apt-get install" in answer.json()["checks"]["amqp"]["detail"]


def test_a_failure_is_a_503_that_hides_hosts_and_secrets(all_well: dict[str, object], client: Client) -> None:
    def refuse() -> Check:
        raise ConnectionRefusedError("connection to db.internal user=iiot password=hunter2 refused")

    all_well["postgres"] = refuse
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["postgres"]["status"] == "failed"
    assert "hunter2" not in answer.content.decode()
    assert "db.internal" not in answer.content.decode()


@pytest.mark.usefixtures("db")
def test_a_broker_for_amqp_that_still_starts_is_shown_and_does_not_count(all_well: dict[str, object], client: Client) -> None:
    all_well["amqp"] = lambda: Check("failed", "Does not answer.")
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["amqp"]["status"]) == (200, "failed")


@pytest.fixture
def _kept_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a result for longer than the second of the product: a busy machine takes that between two calls."""
    monkeypatch.setattr(run_checks.cache, "_TTLCache__ttl", WAIT_SECONDS)


def test_what_hangs_fails_in_time_and_holds_up_nobody(all_well: dict[str, object], monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr(health, "LIMIT_SECONDS", 1.0)
    all_well.clear()
    all_well["redis"], released = lambda: Check("ok"), threading.Event()
    all_well["mqtt"] = lambda: Check("ok" if released.wait(WAIT_SECONDS) else "off")
    checks = client.get("/health").json()["checks"]
    released.set()
    assert (checks["mqtt"]["status"], checks["redis"]["status"]) == ("failed", "ok")


@pytest.mark.usefixtures("_kept_long")
def test_asking_often_asks_once(all_well: dict[str, object], client: Client) -> None:
    asked: list[int] = []
    all_well["redis"] = lambda: asked.append(1) or Check("ok")  # type: ignore[func-returns-value]  # as above
    for _ in range(5):
        client.get("/health")
    assert asked == [1]


def test_alive_means_only_that_the_process_answers(client: Client) -> None:
    assert client.get("/health/live", headers={"Host": "10.0.0.7"}).json() == {"status": "ok"}
    assert client.post("/health/live").status_code == 405


@pytest.mark.usefixtures("db")
def test_real_servers_answer_and_missing_ones_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LIMIT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(health, "CHECKS", {name: health.CHECKS[name] for name in ("postgres", "redis", "mqtt", "amqp")})
    with override_settings(MQTT_URL="", AMQP_URL=""):
        checks = run_checks()
    assert (checks["postgres"].state, checks["redis"].state) == ("ok", "ok")
    assert checks["amqp"].state == "off"
    assert "MQTT_URL" in checks["mqtt"].detail


@pytest.mark.django_db(transaction=True)
def test_the_amqp_listener_counts_with_its_broker_and_not_with_the_others() -> None:
    now = timezone.now()
    for name, state in (("mqtt", "connected"), ("amqp", "connecting")):
        heartbeat = Heartbeat(name=name, host="", pid=1, state=state, started_at=now, messages=0, rejected=0, last_error="")
        record_heartbeat(heartbeat=heartbeat, now=now)
    assert health.check_listeners() == Check("ok", "mqtt")
    with override_settings(AMQP_URL="amqp://user:secret@127.0.0.1:9"):
        assert health.check_amqp() == Check("failed", "amqp is connecting: AMQP messages wait in the broker.")
    record_heartbeat(heartbeat=replace(heartbeat, state="connected"), now=now)
    assert health.check_listeners() == Check("ok", "amqp, mqtt")


def test_a_beat_that_has_not_ticked_for_long_has_failed() -> None:
    redis_client(0).delete(BEAT_KEY)
    assert health.check_beat().state == "failed"
    note_tick()
    assert health.check_beat() == Check("ok")
    redis_client(0).set(BEAT_KEY, time.time() - 31)
    assert "beat.log" in health.check_beat().detail
    redis_client(0).delete(BEAT_KEY)


def test_a_port_where_nobody_listens_has_failed() -> None:
    with override_settings(MQTT_URL="mqtt://user:secret@127.0.0.1:9"):
        checks = run_checks()
    assert checks["mqtt"].state == "failed"
    assert "secret" not in checks["mqtt"].detail


@pytest.mark.usefixtures("_kept_long")
def test_callers_at_the_same_time_wait_for_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[float] = []

    def slow() -> health.Check:
        runs.append(time.monotonic())
        time.sleep(0.3)
        return health.Check("ok")

    monkeypatch.setattr(health, "CHECKS", {"slow": slow})
    health.run_checks.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: health.run_checks(), range(8)))
    health.run_checks.cache_clear()
    assert len(runs) == 1
    assert {answer["slow"].state for answer in answers} == {"ok"}
