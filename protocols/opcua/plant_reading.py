"""What our OPC UA server tells of a tenant: its plant, its latest values, and whose login is good."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asyncua.crypto.permission_rules import User, UserRole
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django_tenants.utils import schema_context

from devices.models import Device, DeviceType, Metric, Site
from protocols.opcua.command_nodes import plan_inputs
from protocols.opcua.tree import DeviceRow, MetricRow, PlannedNode, SiteRow, plan_tree
from telemetry.models import LatestReading
from tenants.api_keys import read_api_key
from tenants.errors import TokenInvalidError
from tenants.models import ApiKey, Tenant
from tenants.permissions import allows
from tenants.selectors import get_active_tenant

NEEDED_PERMISSION = "telemetry:read"


@dataclass
class TenantUser(User):
    """Who logged in: a tenant's API key, or nobody by name where the installation allows that."""

    slug: str = ""
    schema: str = ""
    key_id: str = ""
    permissions: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class NodeValueRow:
    """The latest value of a metric's node."""

    node: str
    value: bool | float | str
    quality: int
    ts: datetime
    received_at: datetime


def authenticate(username: str | None, password: str | None) -> TenantUser | None:
    """Return who logs in with a tenant's slug and one of its API keys, which must allow to read telemetry. Fails closed."""
    if username is None:
        return _anonymous_user()
    try:
        key = read_api_key(password or "", now=timezone.now())
    except (TokenInvalidError, ValueError):
        return None
    permissions = frozenset(key.permissions)
    if key.tenant.slug != username or not allows(permissions, NEEDED_PERMISSION):
        return None
    return TenantUser(UserRole.User, key.name, key.tenant.slug, key.tenant.schema_name, str(key.pk), permissions)


def _anonymous_user() -> TenantUser | None:
    slug = settings.IIOT_OPCUA_ANONYMOUS_TENANT
    tenant = get_active_tenant(slug) if slug else None
    if tenant is None:
        return None
    return TenantUser(UserRole.User, "anonymous", tenant.slug, tenant.schema_name, "", frozenset({NEEDED_PERMISSION}))


def find_ended_keys(key_ids: Sequence[str], *, permission: str = NEEDED_PERMISSION) -> set[str]:
    """Return which of these API keys are good no longer: revoked, expired, gone, without the right, or of an inactive tenant."""
    now = timezone.now()
    keys = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), id__in=key_ids, revoked_at=None)
    rows = keys.filter(tenant__status=Tenant.Status.ACTIVE).values_list("id", "permissions")
    return set(key_ids) - {str(key_id) for key_id, permissions in rows if allows(permissions, permission)}


def load_plan(schema: str, slug: str) -> dict[str, PlannedNode]:
    """Return the nodes that a tenant has; `IIOT_OPCUA_MAX_NODES` of them at most, by device key."""
    with schema_context(schema):
        sites = [SiteRow(str(id_), str(parent or ""), name) for id_, parent, name in Site.objects.values_list("id", "parent_id", "name")]
        metrics: dict[int, list[MetricRow]] = defaultdict(list)
        for metric in Metric.objects.order_by("key"):
            metrics[metric.device_type_id].append(MetricRow(metric.key, metric.name, metric.unit, metric.data_type))
        commands = dict(DeviceType.objects.values_list("id", "commands"))
        rows = Device.objects.order_by("key").values_list("key", "name", "site_id", "device_type_id")
        devices, room = [], settings.IIOT_OPCUA_MAX_NODES - len(sites)
        for key, name, site_id, type_id in rows:
            inputs = plan_inputs(key, commands[type_id])
            room -= 1 + len(metrics[type_id]) + len(inputs) + bool(inputs)
            if room < 0:
                break
            devices.append(DeviceRow(key, name, str(site_id or ""), metrics[type_id], inputs))
    return plan_tree(slug, sites, devices)


def load_values(schema: str, slug: str, *, since: datetime | None) -> list[NodeValueRow]:
    """Return the latest values of a tenant, those received since a moment or all."""
    with schema_context(schema):
        rows = LatestReading.objects.order_by()
        if since is not None:
            rows = rows.filter(received_at__gte=since)
        found = rows.values_list("device__key", "metric__key", "metric__data_type", "value", "text", "quality", "ts", "received_at")
        return [
            NodeValueRow(f"{slug}/{device}/{metric}", _value(value, text, data_type), quality, ts, received_at)
            for device, metric, data_type, value, text, quality, ts, received_at in found
        ]


def _value(value: float | None, text: str | None, data_type: str) -> bool | float | str:
    if value is None:
        return text or ""
    return bool(value) if data_type == Metric.DataType.BOOLEAN else value
