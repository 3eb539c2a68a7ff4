import csv
import io
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices.models import Device, Metric
from telemetry.export_formats import Column, Kind, encode_csv, encode_parquet
from telemetry.services import store_readings
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.conftest import MakeApi, MakeDevice
from tests.telemetry.builders import new_reading
from tests.waiting import WAIT_SECONDS
from tests.web_server import run_web_server

API = "/api/v1"
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
SPAN: dict[str, Any] = {"from": START.isoformat(), "to": (START + timedelta(hours=2)).isoformat()}


def make_plant(tenant: Tenant, make_device: MakeDevice) -> tuple[Device, Device]:
    """Two pumps: one with numbers, a boolean and a dangerous text, one with a single number."""
    with tenant_context(tenant):
        first, second = make_device("pump-1"), make_device("pump-2")
        temperature = Metric.objects.get(key="temperature")
        running = Metric.objects.create(device_type=first.device_type, key="running", data_type="boolean")
        mode = Metric.objects.create(device_type=first.device_type, key="mode", data_type="text")
        readings = [
            new_reading(value=n - 0.5, ts=START + timedelta(seconds=n), device_id=first.id, metric_id=temperature.id) for n in range(5)
        ]
        readings.append(new_reading(value=1.0, ts=START, device_id=first.id, metric_id=running.id))
        readings.append(new_reading(value='=HYPERLINK("x")', quality=2, ts=START, device_id=first.id, metric_id=mode.id))
        readings.append(new_reading(value=7.0, ts=START, device_id=second.id, metric_id=temperature.id))
        store_readings(readings=readings, now=timezone.now())
    return first, second


@pytest.fixture
def pumps(acme: Tenant, make_device: MakeDevice) -> tuple[Device, Device]:
    return make_plant(acme, make_device)


@pytest.fixture
def viewer(api: MakeApi, acme: Tenant, acme_viewer: User) -> APIClient:
    return api(acme_viewer, acme)


def download(client: APIClient, path: str = "/telemetry", **query: Any) -> tuple[bytes, Any]:
    response: Any = client.get(f"{API}{path}", query)
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content), response


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_csv_has_every_value_and_no_formula(viewer: APIClient, pumps: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.export.ROWS_AT_ONCE", 2)
    data, response = download(viewer, device=pumps[0].uuid, format="csv", **SPAN)
    rows = read_csv(data)
    assert [(row["metric"], row["value"], row["text"], row["quality"]) for row in rows] == [
        ("mode", "", '\'=HYPERLINK("x")', "bad"),
        ("running", "1.0", "", "good"),
        *[("temperature", str(n - 0.5), "", "good") for n in range(5)],
    ]
    assert [row["time"] for row in rows[2:4]] == [f"{START:%Y-%m-%dT%H:%M}:0{n}Z" for n in range(2)]
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="pump-1_\d{8}T\d{4}Z_\d{8}T\d{4}Z\.csv"', response["Content-Disposition"])


def test_parquet_has_types_and_the_same_values(viewer: APIClient, pumps: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.export.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("telemetry.export_formats.ROW_GROUP_ROWS", 3)
    both = f"{pumps[0].uuid},{pumps[1].uuid}"
    data, response = download(viewer, device=both, format="parquet", metric="temperature", **SPAN)
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.metadata.num_row_groups > 1
    assert file.metadata.row_group(0).column(3).compression == "ZSTD"
    rows = file.read().to_pylist()
    assert [(row["device"], row["value"]) for row in rows] == [*[("pump-1", n - 0.5) for n in range(5)], ("pump-2", 7.0)]
    assert rows[1]["time"] == START + timedelta(seconds=1)
    assert rows[0]["text"] is None
    assert "2-devices_temperature_" in response["Content-Disposition"]


def test_buckets_come_as_a_file_too(viewer: APIClient, pumps: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    query: dict[str, Any] = {"bucket": "1s", "agg": "avg,count,increase", "metric": "temperature", **SPAN}
    data, _ = download(viewer, f"/devices/{pumps[0].uuid}/telemetry", format="csv", **query)
    rows = read_csv(data)
    assert [(row["avg"], row["count"], row["increase"]) for row in rows] == [
        ("-0.5", "1", ""),
        *[(str(n - 0.5), "1", "1.0") for n in range(1, 5)],
    ]
    data, _ = download(viewer, device=pumps[0].uuid, format="parquet", fill="gaps", **query)
    table = pq.read_table(io.BytesIO(data))
    assert (table.num_rows, table.column("count").null_count, table.column("avg").null_count) == (7200, 0, 7195)


def test_without_a_span_it_is_the_last_day(viewer: APIClient, pumps: tuple[Device, Device]) -> None:
    data, _ = download(viewer, device=pumps[1].uuid, format="csv")
    assert [row["value"] for row in read_csv(data)] == ["7.0"]
    data, _ = download(viewer, device=pumps[1].uuid, format="parquet", to=(START - timedelta(hours=1)).isoformat())
    assert pq.read_table(io.BytesIO(data)).num_rows == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xlsx"}, "format"),
        ({"format": "csv", "limit": 5}, "limit"),
        ({"format": "csv", "order": "desc"}, "order"),
        ({"format": "parquet", "cursor": "x"}, "cursor"),
        ({"format": "csv", "device": ""}, "device"),
    ],
)
def test_what_a_file_has_no_use_for_is_refused_as_json(
    viewer: APIClient, pumps: tuple[Device, Device], query: dict[str, Any], field: str
) -> None:
    response = viewer.get(f"{API}/telemetry", {"device": str(pumps[0].uuid), **query})
    assert (response.status_code, list(response.json()["errors"])) == (400, [field])


def test_several_devices_go_into_a_file_only_and_all_must_exist(viewer: APIClient, pumps: tuple[Device, Device]) -> None:
    both = f"{pumps[0].uuid},{pumps[1].uuid}"
    assert viewer.get(f"{API}/telemetry", {"device": both}).status_code == 400
    unknown = f"{pumps[0].uuid},00000000-0000-4000-8000-000000000000"
    assert viewer.get(f"{API}/telemetry", {"device": unknown, "format": "csv"}).status_code == 404
    many = ",".join(f"00000000-0000-4000-8000-{n:012}" for n in range(101))
    assert viewer.get(f"{API}/telemetry", {"device": many, "format": "csv"}).status_code == 400


def test_an_outsider_gets_no_file(pumps: tuple[Device, Device], api: MakeApi, globex: Tenant, globex_admin: User) -> None:
    response = api(globex_admin, globex).get(f"{API}/telemetry", {"device": str(pumps[0].uuid), "format": "csv"})
    assert response.status_code == 404


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_begins_like_a_formula(beginning: str) -> None:
    data = b"".join(encode_csv([Column("text", Kind.TEXT), Column("value", Kind.NUMBER)], [[(f"{beginning}1+1", -1.5)]]))
    assert read_csv_rows(data) == [["text", "value"], [f"'{beginning}1+1", "-1.5"]]


def read_csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_parquet_is_made_piece_by_piece() -> None:
    batches = ([(f"m{n % 3}", float(i)) for i in range(60_000)] for n in range(5))
    pieces = list(encode_parquet([Column("metric", Kind.TEXT), Column("value", Kind.NUMBER)], batches))
    assert len(pieces) == 3
    assert pq.read_table(io.BytesIO(b"".join(pieces))).num_rows == 300_000


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_file_is_streamed_in_the_right_tenant_by_the_real_server(
    acme: Tenant, globex: Tenant, acme_viewer: User, make_device: MakeDevice, process_env: dict[str, str], tmp_path: Path
) -> None:
    """Under ASGI the rows are read after the view, and its schema, are gone."""
    first, _ = make_plant(acme, make_device)
    token = issue_tokens(user=acme_viewer, tenant=acme, now=timezone.now()).access
    with run_web_server(process_env, tmp_path / "web.log") as url:
        for _ in range(3):
            query = urlencode({"device": str(first.uuid), "format": "csv", **SPAN})
            request = urllib.request.Request(f"{url}{API}/telemetry?{query}", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                assert answer.headers["Transfer-Encoding"] == "chunked"
                assert len(read_csv(answer.read())) == 7
