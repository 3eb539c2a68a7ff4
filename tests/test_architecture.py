"""What import-linter cannot see: relations follow the layers, modules stay small, every model and endpoint is in sight."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from rest_framework.views import APIView

ROOT = Path(__file__).resolve().parent.parent
# From the bottom up; a relation may point to its own layer's app or further down, never up or to a sibling.
LAYERS = [
    {"tenants", "admin", "auth", "contenttypes", "sessions", "django_celery_beat", "token_blacklist"},
    {"devices"},
    {"telemetry", "alerting", "connections"},
    {"analytics"},
    {"rules"},
    {"ml"},
    {"protocols", "retention"},
]
OUR_APPS = {"tenants", "devices", "connections", "telemetry", "alerting", "analytics", "rules", "ml", "protocols", "retention"}
MAX_MODULE_LINES = 500
SCHEMA_PAGES = {"/api/v1/schema", "/api/v1/docs", "/api/v1/redoc"}
NOT_IN_ADMIN = {
    "tenants.LoginFailures": "counters behind digests; nothing to read, and emptying them by hand would let guessers go on",
    "telemetry.Reading": "composite key (the admin cannot address it) and far too many rows; see the device page and the API",
    "telemetry.TextReading": "as Reading",
    "telemetry.LatestReading": "composite key; the device page shows it",
    "alerting.IncidentEvent": "only ever added; shown as the timeline inside its incident",
    "devices.DeviceCredential": "shown and issued inside its device",
    "connections.ModbusRegister": "edited inside its device type's register map",
    "telemetry.MinuteRollup": "as Reading",
    "telemetry.HourRollup": "as Reading",
    "telemetry.ChangedMinute": "book-keeping between the pipeline and the roll-ups; nothing to configure",
    "telemetry.RollupProgress": "as ChangedMinute",
    "telemetry.IngestLedger": "composite key (the admin cannot address it); the page Ingest shows it",
    "devices.FreedNumber": "book-keeping of a minute; nothing to configure",
    "devices.StatusChange": "history that the device's health counts; nothing to configure",
    "protocols.DoorPulse": "as PlatformPulse, of the web process",
    "protocols.PlatformPulse": "one row that the watch over devices keeps; the health page tells",
    "tenants.Timer": "book-keeping of what is due when; nothing to configure",
    "protocols.UnroutedCount": "composite key (the admin cannot address it); counters of messages that are no tenant's",
    "protocols.DeliveryWindow": "book-keeping between broker and database; nothing to configure",
    "protocols.HeldMessage": "frames of tenants in trouble, which the platform's administrators have no business reading",
    "protocols.SparkplugNode": "what edge nodes said, replaced with each birth",
}


def layer_of(app_label: str) -> int:
    return next(index for index, labels in enumerate(LAYERS) if app_label in labels)


def our_models() -> Iterator[type[models.Model]]:
    return (model for model in apps.get_models() if model._meta.app_label in OUR_APPS)


def is_allowed_relation(source: str, target: str) -> bool:
    return source == target or layer_of(target) < layer_of(source)


def module_paths() -> Iterator[Path]:
    for folder in [*sorted(OUR_APPS), "iiot_site", "tests"]:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)


def api_views(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, type[APIView]]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from api_views(entry, route)
        elif isinstance(entry, URLPattern):
            view = getattr(entry.callback, "cls", None) or getattr(entry.callback, "view_class", None)
            if isinstance(view, type) and issubclass(view, APIView):
                yield route, view


def test_relations_follow_the_layers() -> None:
    upward = [
        f"{model._meta.label}.{field.name} -> {field.related_model._meta.label}"
        for model in our_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey | models.ManyToManyField)
        and not isinstance(field.related_model, str)
        and not is_allowed_relation(model._meta.app_label, field.related_model._meta.app_label)
    ]
    assert upward == []


def test_no_constraint_crosses_from_a_tenant_to_the_shared_schema() -> None:
    shared = LAYERS[0] | {"protocols"}
    crossing = [
        f"{model._meta.label}.{field.name}"
        for model in our_models()
        if model._meta.app_label not in shared
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey)
        and not isinstance(field.related_model, str)
        and field.related_model._meta.app_label in shared
        and getattr(field, "db_constraint", True)
    ]
    assert crossing == []


@pytest.mark.parametrize(
    ("source", "target", "allowed"), [("devices", "tenants", True), ("devices", "rules", False), ("telemetry", "alerting", False)]
)
def test_the_layer_rule_itself_tells_up_from_down(source: str, target: str, allowed: bool) -> None:
    assert is_allowed_relation(source, target) is allowed


def test_no_module_exceeds_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines for path in module_paths() if (lines := len(path.read_text().splitlines())) > MAX_MODULE_LINES
    }
    assert long == {}


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_the_contract_against_imports_of_the_root_names_all_of_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [named] = [set(contract["forbidden_modules"]) for contract in contracts if "imports the root" in contract["name"]]
    root = ROOT / "iiot_site"
    parts = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/__init__.py")}
    assert named == {f"iiot_site.{part}" for part in parts - {"__init__", "lib"}}


def test_no_app_imports_inside_functions_to_dodge_a_circle() -> None:
    dodges = []
    for path in module_paths():
        if path.is_relative_to(ROOT / "tests"):
            continue
        for function in (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            for node in ast.walk(function):
                if isinstance(node, ast.stmt) and {name.split(".")[0] for name in imported_names(node)} & (OUR_APPS | {"iiot_site"}):
                    dodges.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # noqa: PERF401 - three nested loops read better
    assert dodges == []


def test_every_model_is_in_the_admin_or_excused() -> None:
    registered = {model._meta.label for model in admin.site._registry}
    missing = {model._meta.label for model in our_models() if not model._meta.auto_created} - registered - set(NOT_IN_ADMIN)
    assert missing == set()


def test_no_excuse_is_stale() -> None:
    known = {model._meta.label for model in our_models()}
    registered = {model._meta.label for model in admin.site._registry}
    assert set(NOT_IN_ADMIN) <= known - registered


def test_every_endpoint_is_in_the_schema() -> None:
    """Routes of the API's own URLconf against the paths that drf-spectacular writes; its own pages are excused."""
    documented = {
        f"{method.upper()} {path}"
        for path, methods in SchemaGenerator(urlconf="iiot_site.urls").get_schema(request=None, public=True)["paths"].items()
        for method in methods
    }
    existing = {
        f"{method} {path.replace('{pk}', '{id}')}"
        for path, _, method, _ in EndpointEnumerator(urlconf="iiot_site.urls").get_api_endpoints()
        if method != "OPTIONS" and path not in SCHEMA_PAGES
    }
    undeclared = [
        route
        for route, view in api_views(get_resolver("iiot_site.urls"))
        if getattr(view, "schema", None) is None and not view.__module__.startswith("drf_spectacular")
    ]
    assert len(documented) > 30
    assert existing <= documented
    assert undeclared == []
