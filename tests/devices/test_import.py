"""Many devices from a CSV file."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from devices.csv_import import COLUMNS, MAX_ROWS, UnreadableFileError, read_rows
from devices.import_services import import_devices
from devices.models import Device, DeviceCredential, DeviceType, Site
from devices.selectors import load_broker_logins
from devices.services import authenticate_device_token
from iiot_site.lib.broker_password import verify_broker_password
from tenants.models import Role, Tenant, User
from tests.conftest import MakeApi, MakeDevice

URL = "/api/v1/devices/import"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def plant(acme: Tenant) -> None:
    with tenant_context(acme):
        DeviceType.objects.create(name="Pump")
        for name in ("North", "South"):
            site = Site.objects.create(name=name)
            Site.objects.create(name="Hall", parent=site)


@pytest.fixture
def developer(api: MakeApi, acme: Tenant, acme_developer: User, plant: None) -> APIClient:
    return api(acme_developer, acme)


def send(client: APIClient, content: str | bytes, query: str = "") -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(f"{URL}{query}", data=data, content_type="text/csv")


def errors_of(answer: Any) -> list[tuple[int, str]]:
    content = answer.json()
    rows = content["errors"]["rows"] if isinstance(content["errors"], dict) else content["errors"]
    return [(error["line"], error["column"]) for error in rows]


def count(tenant: Tenant) -> int:
    with tenant_context(tenant):
        return Device.objects.count()


# --- Reading


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"key,type\n", "no devices"),
        (b"key,type\n,\n\n", "no devices"),
        (b"key,type,colour\na,Pump,red\n", "Unknown column 'colour'"),
        (b"key,key,type\n", "twice"),
        (b"key,name\na,b\n", "'type' is missing"),
        (b"key,type\na\x00,Pump\n", "NUL"),
        ("key,type\na,Pump\n".encode("utf-16"), "not UTF-8"),
        ("key,type\nä,Pump\n".encode("latin-1"), "not UTF-8"),
        (b'key,type\n"a,Pump\n', "no CSV"),
        (b'key,type\n"a"b,Pump\n', "no CSV"),
        (b"key,type\n" + b"a,Pump\n" * (MAX_ROWS + 1), "more than 10000"),
        (b"x" * (5 * 1024 * 1024 + 1), "larger than 5 MB"),
        (b"key,type\n" + b"a" * 200_000 + b",Pump\n", "no CSV"),
    ],
)
def test_a_file_that_cannot_be_taken_says_what_to_change(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableFileError, match=words):
        read_rows(content)


@pytest.mark.parametrize(
    "content",
    [
        "key,type,tags\np1,Pump,a;b\n",
        "\ufeffKey;Type;Tags\r\np1;Pump;a|b\r\n",
        "key\ttype\ttags\np1\tPump\ta; b\n",
        '"key","type","tags"\n"p1"," Pump ","a;b"',
    ],
)
def test_what_spreadsheets_write_is_understood(content: str) -> None:
    (row,) = read_rows(content.encode())
    assert (row.texts["key"], row.texts["type"], row.values["tags"], row.errors) == ("p1", "Pump", ["a", "b"], ())


# --- Importing


def test_a_file_with_every_column_becomes_devices(developer: APIClient, acme: Tenant) -> None:
    content = (
        f'{",".join(COLUMNS)}\ngw-1,Pump,Gateway,North / Hall,,mqtt,"critical; hall-2",1.0,48.1,11.5,yes\np1,Pump,,South,gw-1,,,,,,no\n'
    )
    answer = send(developer, content)
    assert answer.status_code == 201, answer.content
    assert answer.json() == {"dry_run": False, "rows": 2, "created": 2, "error_count": 0, "errors": [], "credentials": []}
    with tenant_context(acme):
        gateway, pump = Device.objects.order_by("key")
        assert (gateway.name, gateway.site.parent.name, gateway.tags, gateway.latitude) == (  # type: ignore[union-attr]
            "Gateway",
            "North",
            ["critical", "hall-2"],
            48.1,
        )
        assert (pump.name, pump.gateway, pump.is_enabled, pump.site.name) == ("p1", gateway, False, "South")  # type: ignore[union-attr]


BROKEN = "\n".join(
    [
        "key,type,site,gateway,latitude,enabled,protocol",
        "good,Pump,,,,,",
        "a b,Pump,,,,,",
        ",Pump,,,,,",
        "t,Turbine,,,,,",
        "s,Pump,Nowhere,,,,",
        "h,Pump,Hall,,,,",
        "g,Pump,,ghost,,,",
        "via-g,Pump,,g,,,",
        "loop-1,Pump,,loop-2,,,",
        "loop-2,Pump,,loop-1,,,",
        "self,Pump,,self,,,",
        "lat,Pump,,,91,,",
        "nan,Pump,,,nan,,",
        "flag,Pump,,,,maybe,",
        "proto,Pump,,,,,smoke",
        "good,Pump,,,,,",
        "taken,Pump,,,,,",
        "many,Pump,,,,,,x",
    ]
)
BROKEN_CELLS = [
    (3, "key"),
    (4, "key"),
    (5, "type"),
    (6, "site"),
    (7, "site"),
    (8, "gateway"),
    (9, "gateway"),
    (10, "gateway"),
    (11, "gateway"),
    (12, "gateway"),
    (13, "latitude"),
    (14, "latitude"),
    (15, "enabled"),
    (16, "protocol"),
    (17, "key"),
    (18, "key"),
    (19, ""),
]


def test_every_wrong_cell_is_named_and_nothing_is_written(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("taken")
    for query, status in (("?dry_run=1", 200), ("", 400)):
        answer = send(developer, BROKEN, query)
        assert answer.status_code == status
        assert sorted(errors_of(answer)) == BROKEN_CELLS
        assert "There are: Pump." in answer.content.decode()
        assert "is not one of auto, " in answer.content.decode()
        assert count(acme) == 1
    assert answer.json()["code"] == "import_refused"


def test_partially_the_good_rows_are_taken(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("taken")
    answer = send(developer, BROKEN, "?partial=1")
    assert (answer.status_code, answer.json()["created"], answer.json()["error_count"]) == (201, 1, len(BROKEN_CELLS))
    with tenant_context(acme):
        assert set(Device.objects.values_list("key", flat=True)) == {"taken", "good"}


def test_credentials_are_issued_with_it_and_told_once(developer: APIClient, acme: Tenant) -> None:
    told = send(developer, "key,type\np1,Pump\np2,Pump\n", "?credentials=mqtt").json()["credentials"]
    token = send(developer, "key,type\np3,Pump\n", "?credentials=token").json()["credentials"][0]
    with tenant_context(acme):
        logins = load_broker_logins(timezone.now())
        assert [one["username"] for one in told] == ["acme/p1", "acme/p2"] == sorted(logins)
        assert all(verify_broker_password(one["secret"], logins[one["username"]]) for one in told)
        assert authenticate_device_token(token=token["secret"], now=timezone.now()) is not None


def test_a_dry_run_issues_nothing(developer: APIClient, acme: Tenant) -> None:
    answer = send(developer, "key,type\np1,Pump\n", "?dry_run=1&credentials=mqtt").json()
    assert (answer["created"], answer["credentials"]) == (1, [])
    with tenant_context(acme):
        assert not DeviceCredential.objects.exists()


@pytest.mark.parametrize("query", ["?dryrun=1", "?dry_run=maybe", "?credentials=x509", "?partial=2"])
def test_a_wrong_parameter_is_named(developer: APIClient, query: str) -> None:
    assert send(developer, "key,type\np1,Pump\n", query).status_code == 400


def test_credentials_need_their_own_permission(api: MakeApi, acme: Tenant, acme_viewer: User, plant: None) -> None:
    role = Role.objects.create(tenant=acme, name="fitter", permissions=["device:write"])
    acme_viewer.memberships.get(tenant=acme).roles.set([role])
    fitter = api(acme_viewer, acme)
    assert send(fitter, "key,type\np1,Pump\n", "?credentials=mqtt").status_code == 403
    assert send(fitter, "key,type\np1,Pump\n").status_code == 201


def test_json_carries_the_same_text(developer: APIClient, acme: Tenant) -> None:
    assert developer.post(URL, {"csv": "key,type\np1,Pump\n"}).status_code == 201
    bodies: list[Any] = [{}, {"csv": 7}, []]
    for wrong in bodies:
        answer = developer.post(URL, wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "import_refused")


def test_hostile_texts_are_stored_as_they_are_and_run_nowhere(developer: APIClient, acme: Tenant) -> None:
    name = "=cmd|'/c calc'!A1<script>alert(1)</script>"
    assert send(developer, f'key,type,name\np1,Pump,"{name}"\n').status_code == 201
    with tenant_context(acme):
        assert Device.objects.get().name == name


def test_another_tenants_types_and_sites_do_not_exist(developer: APIClient, globex: Tenant) -> None:
    with tenant_context(globex):
        DeviceType.objects.create(name="Theirs")
        Site.objects.create(name="Secret")
    answer = send(developer, "key,type,site\np1,Theirs,\np2,Pump,Secret\n", "?dry_run=1")
    assert errors_of(answer) == [(2, "type"), (3, "site")]


def test_the_number_of_queries_does_not_grow_with_the_rows(acme: Tenant, plant: None) -> None:
    def queries(start: int, rows: int) -> int:
        lines = "".join(f"d{n},Pump,North\n" for n in range(start, start + rows))
        with tenant_context(acme), CaptureQueriesContext(connection) as captured:
            import_devices(content=f"key,type,site\n{lines}".encode(), now=NOW, dry_run=False, is_partial=False, credential_kind="token")
        return len(captured)

    assert queries(0, 2) == queries(2, 200)


def test_a_long_chain_of_gateways_ends_somewhere(developer: APIClient, acme: Tenant) -> None:
    lines = "".join(f"d{n},Pump,{f'd{n - 1}' if n else ''}\n" for n in range(3000))
    answer = send(developer, f"key,type,gateway\n{lines}", "?partial=1")
    assert (answer.status_code, answer.json()["created"], len(answer.json()["errors"])) == (201, 21, 1000)


@pytest.mark.slow
def test_ten_thousand_rows_are_taken(acme: Tenant, plant: None) -> None:
    lines = "".join(f"d{n},Pump,Device {n},North,{'d0' if n else ''}\n" for n in range(MAX_ROWS))
    with tenant_context(acme):
        report = import_devices(
            content=f"key,type,name,site,gateway\n{lines}".encode(), now=NOW, dry_run=False, is_partial=False, credential_kind="mqtt"
        )
    assert (report.created_count, len(report.credentials), report.error_count) == (MAX_ROWS, MAX_ROWS, 0)
