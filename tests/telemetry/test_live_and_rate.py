import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from devices.types import DeviceRef, MetricRef
from iiot_site.lib.redis_guard import forget_failures, redis_client
from telemetry import live, rate
from tests.telemetry.builders import NOW, new_reading

METRIC = MetricRef(1, "temperature", "°C", "number", None, None)


def device_ref(n: int) -> DeviceRef:
    return DeviceRef(n, uuid.UUID(int=n), f"d{n}", f"D{n}", 1, None, True, True)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[tuple[str, Any]]]]:
    calls: list[tuple[str, list[tuple[str, Any]]]] = []
    monkeypatch.setattr(live, "push_frames", lambda schema, frames: calls.append((schema, list(frames))))
    topics = frozenset(f"device:{uuid.UUID(int=n)}" for n in (1, 2))
    monkeypatch.setattr(live, "list_watched_topics", lambda *_: topics)
    return calls


def test_devices_that_nobody_watches_cost_no_frame(pushed: list[tuple[str, list[tuple[str, Any]]]]) -> None:
    live.push_readings("t_acme", [(device_ref(n), METRIC, new_reading(0, 1.5)) for n in (2, 3)])
    assert [topic for _, frames in pushed for topic, _ in frames] == [f"device:{uuid.UUID(int=2)}"]


def test_where_redis_does_not_say_who_watches_all_is_sent(
    pushed: list[tuple[str, list[tuple[str, Any]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "list_watched_topics", lambda *_: None)
    live.push_readings("t_acme", [(device_ref(3), METRIC, new_reading(0, 1.5))])
    assert len(pushed[0][1]) == 1


def test_a_batch_makes_one_frame_per_device(pushed: list[tuple[str, list[tuple[str, Any]]]]) -> None:
    values = [
        (device_ref(1), METRIC, new_reading(0, 1.5)),
        (device_ref(2), METRIC, new_reading(0, "on")),
        (device_ref(1), METRIC, new_reading(1, 2.5, quality=1)),
    ]
    live.push_readings("t_acme", values)
    [(schema, frames)] = pushed
    assert schema == "t_acme"
    assert [topic for topic, _ in frames] == [f"device:{uuid.UUID(int=1)}", f"device:{uuid.UUID(int=2)}"]
    assert frames[0][1] == {
        "type": "telemetry_update",
        "device": str(uuid.UUID(int=1)),
        "values": [
            {"metric": "temperature", "value": 1.5, "unit": "°C", "quality": "good", "time": "2026-11-20T12:00:00Z"},
            {"metric": "temperature", "value": 2.5, "unit": "°C", "quality": "uncertain", "time": "2026-11-20T12:00:01Z"},
        ],
    }


def test_a_flood_keeps_the_newest_values_of_a_frame(pushed: list[tuple[str, list[tuple[str, Any]]]]) -> None:
    live.push_readings("t_acme", [(device_ref(1), METRIC, new_reading(n, float(n))) for n in range(1000)])
    values = pushed[0][1][0][1]["values"]
    assert [v["value"] for v in values] == [float(n) for n in range(700, 1000)]


def test_the_rate_is_the_mean_of_the_last_ten_whole_seconds() -> None:
    schema = f"t_{uuid.uuid4().hex}"
    for second in range(12):
        rate.count_messages(schema, 30, NOW + timedelta(seconds=second))
    assert rate.messages_per_second(schema, NOW + timedelta(seconds=11, milliseconds=500)) == 30.0
    assert rate.messages_per_second(schema, NOW + timedelta(seconds=16)) == 18.0
    assert rate.messages_per_second("t_other", NOW) == 0.0


@override_settings(REDIS_URL="redis://127.0.0.1:1")
def test_without_redis_nothing_fails(caplog: pytest.LogCaptureFixture) -> None:
    redis_client.cache_clear()
    try:
        rate.count_messages("t_acme", 1, NOW)
        assert rate.messages_per_second("t_acme", NOW) is None
    finally:
        redis_client.cache_clear()
        forget_failures()
    assert len(caplog.records) == 3  # the third says that Redis is left alone


def test_a_boolean_is_a_boolean_in_frames(pushed: list[tuple[str, list[tuple[str, Any]]]]) -> None:
    running = MetricRef(2, "running", "", "boolean", None, None)
    live.push_readings("t_acme", [(device_ref(1), running, new_reading(n, float(n))) for n in range(2)])
    assert [value["value"] is True for value in pushed[0][1][0][1]["values"]] == [False, True]
    assert pushed[0][1][0][1]["values"][0]["value"] is False


def test_a_tally_writes_the_counts_of_all_tenants_down_at_once() -> None:
    tally, (one, other) = rate.MessageTally(), (f"t_{uuid.uuid4().hex}" for _ in range(2))
    for schema, n in [(one, 10), (other, 70), (one, 20)]:
        tally.add(schema, n, NOW)
    assert rate.messages_by_second(one, NOW + timedelta(seconds=1), 1) == [0]
    tally.write()
    tally.write()
    assert rate.messages_by_second(one, NOW + timedelta(seconds=1), 1) == [30]
    assert rate.messages_by_second(other, NOW + timedelta(seconds=1), 1) == [70]
