import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices.models import Device, Metric, Site
from telemetry.services import record_rejections, store_readings
from telemetry.types import NewRejection
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice
from tests.telemetry.builders import new_reading

API = "/api/v1"
TIMES = [lambda t: t.isoformat(), lambda t: t.isoformat().replace("+00:00", "Z"), lambda t: int(t.timestamp() * 1000)]
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


@pytest.fixture
def viewer(api: MakeApi, acme: Tenant, acme_viewer: User) -> APIClient:
    return api(acme_viewer, acme)


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    """A device with ten seconds of temperature, one text, and a gap before the last value."""
    with tenant_context(acme):
        device = make_device(metrics=("temperature",))
        temperature = device.device_type.metrics.get()
        temperature.unit, temperature.name = "°C", "Oil"
        temperature.save()
        mode = Metric.objects.create(device_type=device.device_type, key="mode", data_type="text")
        readings = [
            new_reading(value=float(n), ts=START + timedelta(seconds=n), device_id=device.id, metric_id=temperature.id) for n in range(10)
        ]
        readings.append(new_reading(value=99.0, quality=1, ts=START + timedelta(hours=1), device_id=device.id, metric_id=temperature.id))
        readings.append(new_reading(value="auto", ts=START, device_id=device.id, metric_id=mode.id))
        store_readings(readings=readings, now=timezone.now())
    return device


def get(client: APIClient, path: str, status: int = 200, **query: Any) -> Any:
    response = client.get(path if path.startswith("http") else f"{API}{path}", query)
    assert response.status_code == status, response.content
    return response.json()


def test_latest_tells_value_unit_quality_time_and_age(viewer: APIClient, pump: Device) -> None:
    mode, temperature = get(viewer, f"/devices/{pump.uuid}/latest")["results"]
    age = temperature.pop("age_seconds")
    assert temperature == {
        "metric": "temperature",
        "name": "Oil",
        "value": 99.0,
        "unit": "°C",
        "quality": "uncertain",
        "time": (START + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
    }
    assert 3600 - 1 < age < 86_400  # the hours began when the tests were collected
    assert (mode["metric"], mode["value"]) == ("mode", "auto")


@pytest.mark.parametrize("as_time", TIMES)
def test_history_is_half_open_oldest_first_in_either_spelling_of_time(viewer: APIClient, pump: Device, as_time: Any) -> None:
    query = {"metric": "temperature", "from": as_time(START + timedelta(seconds=2)), "to": as_time(START + timedelta(seconds=5))}
    by_path = get(viewer, f"/devices/{pump.uuid}/telemetry", **query)
    assert [point["value"] for point in by_path["results"]] == [2.0, 3.0, 4.0]
    assert by_path["next"] is None
    assert by_path["results"][0] == {
        "device": str(pump.uuid),
        "metric": "temperature",
        "time": (START + timedelta(seconds=2)).isoformat().replace("+00:00", "Z"),
        "value": 2.0,
        "quality": "good",
    }
    assert get(viewer, "/telemetry", device=pump.uuid, **query) == by_path


def test_following_next_reads_everything_once(viewer: APIClient, pump: Device) -> None:
    page = get(viewer, "/telemetry", device=pump.uuid, limit=5)
    points = page["results"]
    while page["next"]:
        page = get(viewer, page["next"])
        assert len(page["results"]) <= 5
        points += page["results"]
    assert len(points) == 12
    assert len({(p["metric"], p["time"]) for p in points}) == 12
    assert [p["time"] for p in points] == sorted(p["time"] for p in points)


@pytest.mark.parametrize(("agg", "value"), [("avg", 4.5), ("min", 0.0), ("max", 9.0), ("count", 10)])
def test_buckets_say_what_was_asked_and_the_rest_too(viewer: APIClient, pump: Device, agg: str, value: float) -> None:
    query: dict[str, Any] = {"metric": "temperature,mode", "from": START.isoformat(), "bucket": 60, "agg": agg}
    first, last = get(viewer, f"/devices/{pump.uuid}/telemetry", **query)["results"]
    assert (first["value"], first["avg"], first["min"], first["max"], first["count"]) == (value, 4.5, 0.0, 9.0, 10)
    assert (last["max"], last["quality"]) == (99.0, "uncertain")


def test_pages_of_buckets_end(viewer: APIClient, pump: Device) -> None:
    query: dict[str, Any] = {"from": START.isoformat(), "to": (START + timedelta(hours=2)).isoformat(), "bucket": 60, "limit": 50}
    page = get(viewer, f"/devices/{pump.uuid}/telemetry", **query)
    buckets, pages = page["results"], 1
    while page["next"]:
        page = get(viewer, page["next"])
        buckets, pages = buckets + page["results"], pages + 1
    assert (len(buckets), pages) == (2, 3)


def test_several_figures_at_once(viewer: APIClient, pump: Device) -> None:
    query: dict[str, Any] = {
        "metric": "temperature",
        "from": START.isoformat(),
        "bucket": "1m",
        "agg": "sum,first,last,increase,time_weighted",
    }
    first = get(viewer, "/telemetry", device=pump.uuid, **query)["results"][0]
    assert (first["value"], first["sum"], first["first"], first["last"], first["increase"]) == (45.0, 45.0, 0.0, 9.0, 9.0)
    assert first["time_weighted"] == 4.0  # an hour without a value follows: the last one counts for no time


def test_gaps_are_null_when_asked_for(viewer: APIClient, pump: Device) -> None:
    bounds: dict[str, Any] = {"from": START.isoformat(), "to": (START + timedelta(minutes=3)).isoformat(), "bucket": "1m", "fill": "gaps"}
    results = get(viewer, "/telemetry", device=pump.uuid, metric="temperature", **bounds)["results"]
    assert [(point["value"], point["count"], point["quality"]) for point in results] == [
        (4.5, 10, "good"),
        (None, 0, None),
        (None, 0, None),
    ]


@pytest.mark.parametrize("bucket", [None, "10m"])
def test_newest_first_follows_next_to_the_oldest(viewer: APIClient, pump: Device, bucket: str | None) -> None:
    query: dict[str, Any] = {
        "from": START.isoformat(),
        "to": (START + timedelta(hours=2)).isoformat(),
        **({"bucket": bucket} if bucket else {}),
    }
    forwards = get(viewer, "/telemetry", device=pump.uuid, **query)["results"]
    page = get(viewer, "/telemetry", device=pump.uuid, order="desc", limit=4, **query)
    backwards = page["results"]
    while page["next"]:
        page = get(viewer, page["next"])
        backwards += page["results"]
    assert backwards[::-1] == forwards


def test_a_curve_has_the_stored_points_that_keep_its_shape(viewer: APIClient, pump: Device) -> None:
    query: dict[str, Any] = {"device": pump.uuid, "from": START.isoformat(), "points": 5}
    results = get(viewer, "/telemetry", **query)["results"]
    assert [point["value"] for point in results][-1] == 99.0
    assert 5 <= len(results) <= 7
    with_gaps = get(viewer, "/telemetry", fill="gaps", **query)["results"]
    assert [point for point in with_gaps if point["value"] is not None] == results
    assert [point["value"] for point in with_gaps][-2:] == [None, 99.0]


def test_calendar_days_are_those_of_the_site_unless_told(viewer: APIClient, acme: Tenant, pump: Device) -> None:
    def first_day(**zone: Any) -> str:
        query: dict[str, Any] = {"from": START.isoformat(), "bucket": "day", **zone}
        day: str = get(viewer, "/telemetry", device=pump.uuid, **query)["results"][0]["time"]
        return day

    assert "T00:00:00Z" in first_day()
    with tenant_context(acme):
        pump.site = Site.objects.create(name="Kathmandu", timezone="Asia/Kathmandu")
        pump.save()
    assert "T18:15:00Z" in first_day()
    assert "T15:00:00Z" in first_day(tz="Asia/Tokyo")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "1e999"}, "to"),
        ({"to": "9" * 40}, "to"),
        ({"from": "0001-01-01", "bucket": 31_622_400}, "from"),
        ({"from": "9990-01-01", "bucket": 31_622_400}, "from"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"bucket": 0, "from": "2026-01-01"}, "bucket"),
        ({"bucket": 60}, "from"),
        ({"bucket": 1, "from": "2020-01-01"}, "bucket"),
        ({"bucket": 60, "from": "2026-01-01", "agg": "median; DROP TABLE"}, "agg"),
        ({"bucket": 60, "from": "2026-01-01", "agg": "avg,median"}, "agg"),
        ({"bucket": 60, "from": "2026-01-01", "agg": ","}, "agg"),
        ({"bucket": "fortnight", "from": "2026-01-01"}, "bucket"),
        ({"bucket": "1h", "from": "2026-01-01", "tz": "Europe/Berlin"}, "tz"),
        ({"bucket": "day", "from": "2026-01-01", "tz": "../etc/passwd"}, "tz"),
        ({"bucket": "day", "from": "2026-01-01", "fill": "zero"}, "fill"),
        ({"bucket": "day", "from": "2026-01-01", "cursor": "x"}, "cursor"),
        ({"agg": "avg"}, "agg"),
        ({"points": 2, "from": "2026-01-01"}, "points"),
        ({"points": 100}, "from"),
        ({"points": 100, "from": "2026-01-01", "bucket": 60}, "points"),
        ({"points": 100, "from": "2026-01-01", "order": "desc"}, "order"),
        ({"points": 100, "from": "2999-01-01"}, "from"),
        ({"order": "random"}, "order"),
        ({"metrics": "temperature"}, "metrics"),
        ({"device": "pump-7"}, "device"),
    ],
)
def test_a_wrong_parameter_is_named(viewer: APIClient, pump: Device, query: dict[str, Any], field: str) -> None:
    error = get(viewer, "/telemetry", status=400, **{"device": pump.uuid, **query})
    assert (error["code"], list(error["errors"])) == ("invalid", [field])


def test_a_made_up_cursor_is_a_400(viewer: APIClient, pump: Device) -> None:
    assert get(viewer, "/telemetry", status=400, device=pump.uuid, cursor="nonsense")["code"] == "invalid_cursor"


def test_an_unknown_metric_has_no_history(viewer: APIClient, pump: Device) -> None:
    assert get(viewer, "/telemetry", device=pump.uuid, metric="speed")["results"] == []


def test_reading_costs_few_queries_however_many_metrics_there_are(viewer: APIClient, acme: Tenant, pump: Device) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            get(viewer, path)
        return len(queries)

    paths = [f"/devices/{pump.uuid}/latest", f"/devices/{pump.uuid}/telemetry"]
    count(paths[0])  # fills the cache of tenants
    few = [count(path) for path in paths]
    with tenant_context(acme):
        metrics = [Metric.objects.create(device_type=pump.device_type, key=f"m{n}") for n in range(20)]
        store_readings(readings=[new_reading(ts=START, device_id=pump.id, metric_id=m.id) for m in metrics], now=timezone.now())
    assert [count(path) for path in paths] == few


def test_rejected_messages_show_payload_and_reason(viewer: APIClient, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        now = timezone.now()
        record_rejections(
            rejections=[
                NewRejection(now, "mqtt", "t/acme/pump-7/telemetry", pump.id, "not_json", "Send JSON.", b"<script>\xff\0"),
                NewRejection(now - timedelta(hours=1), "http", "POST", None, "unknown_device", "Create it.", b"{}"),
            ]
        )
    first, second = get(viewer, "/telemetry/rejected")["results"]
    assert (first["reason"], first["device"]["id"], first["payload"]) == ("not_json", str(pump.uuid), "<script>\\xff\0")
    assert second["device"] is None
    assert [m["reason"] for m in get(viewer, "/telemetry/rejected", device=pump.uuid)["results"]] == ["not_json"]
    assert [m["reason"] for m in get(viewer, "/telemetry/rejected", reason="unknown_device")["results"]] == ["unknown_device"]
    assert get(viewer, f"/telemetry/rejected/{first['id']}") == first


def test_an_outsider_and_nobody_see_nothing(api: MakeApi, acme: Tenant, globex: Tenant, globex_admin: User, pump: Device) -> None:
    outsider = api(globex_admin, globex)
    for path in (f"/devices/{pump.uuid}/latest", f"/devices/{pump.uuid}/telemetry", f"/telemetry?device={pump.uuid}"):
        assert outsider.get(f"{API}{path}").status_code == 404
        assert outsider.get(f"/t/acme{API}{path}").status_code == 404
        assert api(None, None).get(f"/t/acme{API}{path}").status_code == 401
    assert get(outsider, f"/devices/{uuid.uuid4()}/latest", status=404)["code"] == "not_found"
    assert get(outsider, "/telemetry/rejected")["results"] == []


def test_booleans_are_read_as_they_were_sent_and_averaged_as_numbers(viewer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device("fan-1", type_name="Fan", metrics=())
        running = Metric.objects.create(device_type=device.device_type, key="running", data_type="boolean")
        ids = {"device_id": device.id, "metric_id": running.id}
        readings = [new_reading(value=float(n), ts=START + timedelta(seconds=n), **ids) for n in range(2)]
        store_readings(readings=readings, now=timezone.now())
    assert [point["value"] for point in get(viewer, "/telemetry", device=device.uuid)["results"]] == [False, True]
    [latest] = get(viewer, f"/devices/{device.uuid}/latest")["results"]
    assert latest["value"] is True
    query: dict[str, Any] = {"from": START.isoformat(), "bucket": 60}
    [bucket] = get(viewer, "/telemetry", device=device.uuid, **query)["results"]
    assert (bucket["value"], bucket["max"], bucket["max"] is True) == (0.5, 1.0, False)
