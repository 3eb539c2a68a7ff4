"""Whatever stands in an address, nobody gets a 5xx: every list, form and look-up of the admin, every GET of the API."""

import logging
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context
from drf_spectacular.generators import SchemaGenerator

from iiot_site.lib.logs import OneLineFormatter, WithoutTrace
from tenants.models import Tenant, User
from tenants.tokens import issue_tokens
from tests.conftest import MakeDevice

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]  # a statement that fails must not end the test's transaction

EARLY = "0001-01-01T00:00:00+23:59"  # Python reads it, PostgreSQL does not
HUGE = "9" * 30
ADMIN_FILTERS = ({"q": "x" * 3000, "p": HUGE, "o": f"{HUGE}.-{HUGE}"}, {"all": "\0"}, {"_to_field": "x"})
HEALTH = "/api/v1/health"


def statuses(client: Client, addresses: Iterator[str], headers: dict[str, str]) -> dict[str, int]:
    """Return the addresses that were answered with a 5xx."""
    answers = {address: client.get(address, headers=headers).status_code for address in dict.fromkeys(addresses)}
    assert len(answers) > 100
    assert 200 in answers.values()
    return {address: status for address, status in answers.items() if status >= 500}


def unfitting(fields: "list[models.Field[object, object]]") -> Iterator[dict[str, str]]:
    """Return a filter by a field of each kind, by a value that this kind cannot bear."""
    kinds = {field.get_internal_type(): field.name for field in fields}
    if (moment := kinds.get("DateTimeField")) is not None:
        yield from ({moment: EARLY}, {f"{moment}__year": HUGE}, {f"{moment}__year": "-1"})
    yield from ({name: "-1"} for kind, name in kinds.items() if kind in {"BinaryField", "ArrayField", "JSONField"})
    yield from ({name: HUGE} for kind, name in kinds.items() if kind in {"IntegerField", "UUIDField"})


def list_admin(root: str) -> Iterator[str]:
    for model, page in admin.site._registry.items():
        meta = model._meta
        base = f"{root}{meta.app_label}/{meta.model_name}/"
        fields = [field for field in meta.get_fields() if isinstance(field, models.Field) and not field.many_to_many]
        yield base
        yield from (f"{base}?{urlencode(one)}" for one in (*ADMIN_FILTERS, *unfitting(fields)))
        yield f"{base}add/?{urlencode({field.name: 'x' for field in fields})}"
        yield from (f"{base}{text}/change/" for text in ("%00", "x", "1"))
        for field in fields:
            if field.is_relation and field.name in page.autocomplete_fields:
                named = {"app_label": meta.app_label, "model_name": meta.model_name, "field_name": field.name}
                yield from (f"{root}autocomplete/?{urlencode({**named, **one})}" for one in ({"term": "\0"}, {"term": "x", "p": HUGE}))
    yield from (f"{root}r/{number}/{key}/" for number in ("1", "2", "9", HUGE) for key in ("1", "x", "%00"))
    yield from (f"{root}{rest}" for rest in ("search/?s=%00", "search/?s=x", "jsi18n/?x=%00", "%00/", "x/y/", "autocomplete/?x=1"))


@pytest.fixture
def in_acme_with_a_device(acme: Tenant, make_device: MakeDevice) -> str:
    with tenant_context(acme):
        return str(make_device().uuid)


@pytest.mark.parametrize("root", ["/t/acme/admin/", "/admin/"])
def test_no_address_of_the_admin_is_a_server_error(
    root: str, acme_admin: User, platform_admin: User, in_acme_with_a_device: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(acme_admin if "acme" in root else platform_admin)
    with caplog.at_level(logging.CRITICAL):
        assert statuses(client, list_admin(root), {}) == {}


def list_api(device: str) -> Iterator[str]:
    for path, operations in SchemaGenerator().get_schema(request=None, public=True)["paths"].items():
        if "get" not in operations or path.startswith(HEALTH) or path.endswith(("/schema", "/docs", "/redoc")):
            continue
        parameters = operations["get"].get("parameters", [])
        needed = {"device": device, "metric": "temperature", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
        required = {one["name"]: needed.get(one["name"], "1") for one in parameters if one["in"] == "query" and one.get("required")}
        base = whole = path
        for name in [one["name"] for one in parameters if one["in"] == "path"]:
            base, whole = base.replace(f"{{{name}}}", device), whole.replace(f"{{{name}}}", "%00")
        yield from (base, whole, f"{base}?x=%00")
        for name in [*(one["name"] for one in parameters if one["in"] == "query"), "page"]:
            yield from (f"{base}?{urlencode({**required, name: text})}" for text in (EARLY, HUGE))


def test_no_address_of_the_api_is_a_server_error(
    acme: Tenant, acme_admin: User, in_acme_with_a_device: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = issue_tokens(user=acme_admin, tenant=acme, now=timezone.now()).access
    client = Client(raise_request_exception=False)
    with caplog.at_level(logging.CRITICAL):
        assert statuses(client, list_api(in_acme_with_a_device), {"Authorization": f"Bearer {token}"}) == {}
    answer = client.get("/api/v1/telemetry?metric=%00", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_a_fault_of_ours_stays_a_server_error(acme_admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    client = Client(raise_request_exception=False)
    client.force_login(acme_admin)
    monkeypatch.setattr("iiot_site.web.listener_views.make_rows", fail)
    assert client.get("/t/acme/listeners").status_code == 500


def test_a_foreign_host_is_refused_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    answer = Client().get("/login", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    [record] = [record for record in caplog.records if record.name == "django.security.DisallowedHost"]
    assert WithoutTrace().filter(record)
    line = OneLineFormatter().format(record)
    assert "evil.example" in line
    assert "Traceback" not in line
