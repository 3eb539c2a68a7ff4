"""Who may call what: the table of every endpoint of the API, an example object for each address, and the suite that holds both.

A new endpoint fails `TestAccess` (tests/tenants/test_access.py) until it has a row in `ACCESS` and, where its address
names an object, an example in `make_examples`. The roles' expectations follow from the row and `BUILT_IN_ROLES`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from django_tenants.utils import tenant_context
from drf_spectacular.generators import EndpointEnumerator
from rest_framework.permissions import AllowAny
from rest_framework.test import APIClient

from alerting.models import Alert, Incident, Severity
from connections.models import ModbusConnection, ModbusRegister, OpcUaNode, OpcUaServer
from devices.api.device_view import IsDevice
from devices.command_services import queue_command
from devices.models import DeviceCredential, ProvisioningKey, Site
from devices.provisioning_services import issue_provisioning_key
from devices.services import issue_credential
from rules.models import Rule
from telemetry.models import RejectedMessage
from tenants.api.permissions import HasTenantPermission, IsPerson, IsPlatformAdmin, needed_permission
from tenants.models import Tenant, User
from tenants.permissions import BUILT_IN_ROLES, allows
from tests.conftest import MakeApi, MakeDevice, MakePerson

API = "/api/v1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUBLIC, PERSON, PLATFORM, DEVICE = "public", "person", "platform", "device"
_CLASSES: dict[str, type] = {PUBLIC: AllowAny, PERSON: IsPerson, PLATFORM: IsPlatformAdmin, DEVICE: IsDevice}


def _crud(path: str, resource: str) -> dict[str, str]:
    rows = {f"GET {path}": f"{resource}:read", f"GET {path}/{{}}": f"{resource}:read", f"POST {path}": f"{resource}:write"}
    return rows | {f"{method} {path}/{{}}": f"{resource}:write" for method in ("PUT", "PATCH", "DELETE")}


# "METHOD path" (an object's id is {}) → the permission, or who it is open to.
ACCESS: dict[str, str] = {
    "GET /health": PUBLIC,
    "GET /health/live": PUBLIC,
    "GET /health/ready": PUBLIC,
    "GET /schema": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /redoc": PUBLIC,
    "POST /auth/login": PUBLIC,
    "POST /auth/refresh": PUBLIC,
    "POST /auth/logout": PUBLIC,
    "GET /auth/me": PERSON,
    "GET /tenants": PLATFORM,
    "POST /tenants": PLATFORM,
    "GET /tenants/{}": PLATFORM,
    "POST /tenants/{}/switch": PERSON,
    **_crud("/sites", "site"),
    **_crud("/device-types", "device_type"),
    **_crud("/metrics", "metric"),
    **_crud("/devices", "device"),
    "GET /devices/{}/credentials": "credential:read",
    "POST /devices/{}/credentials": "credential:write",
    "DELETE /devices/{}/credentials/{}": "credential:write",
    "POST /devices/{}/credentials/{}/rotate": "credential:write",
    "GET /devices/{}/commands": "command:read",
    "GET /devices/{}/commands/{}": "command:read",
    "POST /devices/{}/commands": "command:write",
    "GET /device/commands": DEVICE,
    "POST /device/commands/{}/response": DEVICE,
    "POST /devices/{}/reset-detection": "device:write",
    "GET /devices/{}/state": "state:read",
    "PATCH /devices/{}/state": "state:write",
    "GET /devices/{}/state/changes": "state:read",
    "GET /device/state": DEVICE,
    "PATCH /device/state": DEVICE,
    "POST /provision": PUBLIC,
    "POST /devices/import": "device:write",
    "GET /provisioning-keys": "credential:read",
    "POST /provisioning-keys": "credential:write",
    "GET /provisioning-keys/{}": "credential:read",
    "DELETE /provisioning-keys/{}": "credential:write",
    "GET /devices/{}/latest": "telemetry:read",
    "GET /devices/{}/health": "telemetry:read",
    "GET /devices/{}/frames": "telemetry:read",
    "GET /devices/{}/telemetry": "telemetry:read",
    "GET /telemetry": "telemetry:read",
    "POST /telemetry": "telemetry:write",
    "GET /telemetry/ledger": "telemetry:read",
    "GET /telemetry/rejected": "telemetry:read",
    "GET /telemetry/rejected/{}": "telemetry:read",
    **_crud("/protocols/modbus-connections", "connection"),
    **_crud("/protocols/modbus-registers", "connection"),
    **_crud("/protocols/opcua-servers", "connection"),
    "POST /protocols/opcua-servers/{}/trust": "connection:write",
    "POST /protocols/opcua-servers/{}/check": "connection:write",
    "GET /protocols/opcua-servers/{}/browse": "connection:write",
    **_crud("/protocols/opcua-servers/{}/mappings", "connection"),
    "GET /protocols/listeners": "device:read",
    "POST /protocols/decode": "telemetry:read",
    **_crud("/rules", "rule"),
    "POST /rules/{}/enable": "rule:write",
    "POST /rules/{}/disable": "rule:write",
    "GET /alerts": "alert:read",
    "GET /alerts/{}": "alert:read",
    "GET /alerts/incidents": "incident:read",
    "GET /alerts/incidents/{}": "incident:read",
    "GET /alerts/incidents/{}/timeline": "incident:read",
    **{f"POST /alerts/incidents/{{}}/{action}": "incident:write" for action in ("acknowledge", "investigate", "resolve", "reopen")},
    **{f"POST /alerts/incidents/{{}}/{action}": "incident:write" for action in ("assign", "notes")},
}


# What an address wants to see before it looks for the object; all others are sent {}.
BODIES: dict[str, dict[str, Any]] = {
    "POST /alerts/incidents/{}/notes": {"text": "Bearing is loud."},
    "POST /devices/{}/credentials": {"kind": "token"},
    "POST /devices/{}/commands": {"name": "reboot"},
    "PATCH /devices/{}/state": {"desired": {}},
}


def make_examples(tenant: Tenant, make_device: MakeDevice) -> dict[str, str]:
    """Make an object of each kind in the tenant; return its id by the address up to and with it."""
    with tenant_context(tenant):
        site = Site.objects.create(name="Hall 1")
        device = make_device("pump-7", site=site)
        provisioning_key = ProvisioningKey(name="Batch 7", device_type=device.device_type)
        issue_provisioning_key(key=provisioning_key, now=NOW)
        credential_id = issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=NOW).credential_id
        command = queue_command(device=device, name="reboot", payload=None, now=NOW)
        incident = Incident.objects.create(number=1, title="Hot", severity=Severity.HIGH, dedup_key="k", device=device, opened_at=NOW)
        alert = Alert.objects.create(
            incident=incident, dedup_key="k", severity=Severity.HIGH, source="rule:1", summary="Hot", occurred_at=NOW, received_at=NOW
        )
        rule = Rule.objects.create(name="Hot", condition={"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0})
        rejected = RejectedMessage.objects.create(
            received_at=NOW, protocol="mqtt", source="t", reason="not_json", detail="", payload=b"x", payload_bytes=1
        )
        register = ModbusRegister.objects.create(device_type=device.device_type, metric="temperature", address=0)
        modbus = ModbusConnection.objects.create(device=device, host="10.0.4.17")
        opcua = OpcUaServer.objects.create(name="PLC 7", endpoint_url="opc.tcp://10.0.4.17:4840")
        mapping = OpcUaNode.objects.create(server=opcua, node_id="ns=2;s=T", device=device, metric="temperature")
        return {
            "/protocols/opcua-servers/{}": str(opcua.uuid),
            "/protocols/opcua-servers/{}/mappings/{}": str(mapping.uuid),
            "/protocols/modbus-registers/{}": str(register.uuid),
            "/protocols/modbus-connections/{}": str(modbus.uuid),
            "/tenants/{}": str(tenant.pk),
            "/sites/{}": str(site.pk),
            "/device-types/{}": str(device.device_type.uuid),
            "/metrics/{}": str(device.device_type.metrics.get().uuid),
            "/devices/{}": str(device.uuid),
            "/devices/{}/credentials/{}": str(credential_id),
            "/devices/{}/commands/{}": str(command.pk),
            "/device/commands/{}": str(command.pk),
            "/provisioning-keys/{}": str(provisioning_key.pk),
            "/rules/{}": str(rule.pk),
            "/alerts/{}": str(alert.pk),
            "/alerts/incidents/{}": str(incident.pk),
            "/telemetry/rejected/{}": str(rejected.pk),
        }


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address, and the view behind it."""

    method: str
    path: str
    view: Any

    @property
    def row(self) -> str:
        return f"{self.method} {self.path}"


def list_endpoints() -> list[Endpoint]:
    """Walk the URLconf."""
    walked = EndpointEnumerator().get_api_endpoints()
    return [Endpoint(method, re.sub(r"\{\w+\}", "{}", path).removeprefix(API), view.cls) for path, _, method, view in walked]


def object_addresses(path: str) -> Iterator[str]:
    """Yield the address up to and with each object that it names: `/a/{}`, `/a/{}/b/{}`."""
    for found in re.finditer(r"\{\}", path):
        yield path[: found.end()]


def fill(path: str, examples: Mapping[str, str]) -> str:
    """Put the examples' ids into the address. Raises KeyError where one is missing."""
    ids = [examples[address] for address in object_addresses(path)]
    return path.format(*ids)


def call(client: APIClient, row: str, url: str) -> Any:
    """Send an empty body where there is one: whoever is let in gets 400 at the worst."""
    method = row.split(maxsplit=1)[0]
    send: Callable[..., Any] = getattr(client, method.lower())
    return send(url) if method == "GET" else send(url, BODIES.get(row, {}))


_ROWS = sorted(ACCESS)
_GUARDED = [row for row in _ROWS if ACCESS[row] != PUBLIC]
_TENANTS_ROWS = [row for row in _ROWS if ":" in ACCESS[row]]
_every_guarded_row = pytest.mark.parametrize("row", _GUARDED)
_every_tenants_row = pytest.mark.parametrize("row", _TENANTS_ROWS)


class AccessSuite:
    """Inherit it in one test module; the table above is what it holds."""

    @pytest.fixture
    def examples(self, acme: Tenant, make_device: MakeDevice) -> dict[str, str]:
        return make_examples(acme, make_device)

    def test_every_endpoint_is_in_the_table_and_nothing_else(self) -> None:
        walked = {endpoint.row for endpoint in list_endpoints()}
        assert (walked - set(ACCESS), set(ACCESS) - walked) == (set(), set())

    def test_every_view_declares_what_the_table_says(self) -> None:
        wrong = {}
        for endpoint in list_endpoints():
            wanted: Any = ACCESS.get(endpoint.row)
            declared: Any = needed_permission(endpoint.view, endpoint.method)
            if wanted in _CLASSES:
                declared, wanted = list(endpoint.view.permission_classes), [_CLASSES[wanted]]
            elif list(endpoint.view.permission_classes) != [HasTenantPermission]:
                declared = endpoint.view.permission_classes
            if declared != wanted:
                wrong[endpoint.row] = (declared, wanted)
        assert wrong == {}

    def test_every_address_has_an_example(self, examples: dict[str, str]) -> None:
        needed = {address for row in ACCESS for address in object_addresses(row.split()[1])}
        assert (needed - set(examples), set(examples) - needed) == (set(), set())

    @_every_guarded_row
    def test_nobody_gets_in_without_a_login_whatever_the_tenant(self, row: str, examples: dict[str, str]) -> None:
        path = row.split()[1]
        answers = [call(APIClient(), row, f"{prefix}{API}{fill(path, examples)}") for prefix in ("", "/t/acme", "/t/unknown")]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1

    @_every_tenants_row
    def test_an_outsider_finds_nothing_of_another_tenant(
        self, row: str, examples: dict[str, str], globex_admin: User, globex: Tenant, api: MakeApi
    ) -> None:
        path = row.split()[1]
        client, url = api(globex_admin, globex), f"{API}{fill(path, examples)}"
        for prefix in ("/t/acme", "/t/unknown"):
            answer = call(client, row, f"{prefix}{url}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        session = APIClient()
        session.force_login(globex_admin)
        assert call(session, row, f"/t/acme{url}").status_code == 404
        at_home = call(client, row, url)
        if "{}" in path:
            assert at_home.status_code == 404
        else:
            assert not any(identifier in at_home.content.decode() for identifier in examples.values())

    @_every_tenants_row
    @pytest.mark.parametrize("role", list(BUILT_IN_ROLES))
    def test_each_role_may_do_what_its_permissions_say(
        self, row: str, role: str, examples: dict[str, str], acme: Tenant, make_person: MakePerson, api: MakeApi
    ) -> None:
        path = row.split()[1]
        client = api(make_person(f"{role}@acme.example", acme, role), acme)
        status = call(client, row, f"{API}{fill(path, examples)}").status_code
        if allows(BUILT_IN_ROLES[role], ACCESS[row]):
            assert status in {200, 201, 202, 204, 400, 409}
        else:
            assert status == 403

    @pytest.mark.parametrize("row", [row for row in _ROWS if ACCESS[row] == PLATFORM])
    def test_the_platforms_own_endpoints_are_closed_to_tenants_admins(
        self, row: str, examples: dict[str, str], acme_admin: User, acme: Tenant, api: MakeApi
    ) -> None:
        path = row.split()[1]
        assert call(api(acme_admin, acme), row, f"{API}{fill(path, examples)}").status_code == 403

    def test_an_outsider_cannot_switch_to_another_tenant(
        self, examples: dict[str, str], globex_admin: User, globex: Tenant, api: MakeApi
    ) -> None:
        assert api(globex_admin, globex).post(f"{API}{fill('/tenants/{}/switch', examples)}").status_code == 404

    @_every_tenants_row
    def test_the_platform_admin_sees_no_tenants_data(self, row: str, examples: dict[str, str], platform_admin: User, api: MakeApi) -> None:
        path = row.split()[1]
        client, url = api(platform_admin, None), f"{API}{fill(path, examples)}"
        assert call(client, row, f"/t/acme{url}").status_code == 404
        assert call(client, row, url).status_code == 400
