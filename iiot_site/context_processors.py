"""What every page's frame shows: tenant, rights, navigation, other tenants, how much waits for somebody."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from alerting.models import Incident
from tenants.models import Tenant, User
from tenants.permissions import allows

# Label, icon, name of the page, permission to see it, names of the pages below it.
_PAGES = (
    ("Overview", "layout-dashboard", "home", "device:read", ()),
    ("Devices", "cpu", "devices", "device:read", ("device",)),
    ("Incidents", "bell", "incidents", "incident:read", ("incident",)),
    ("Ingest", "activity", "ingest", "telemetry:read", ("rejected-messages", "listeners", "opcua-servers", "opcua-server", "codec-bench")),
)


@dataclass(frozen=True, slots=True)
class NavItem:
    """One entry of the side bar and, on phones, of the tab bar."""

    label: str
    icon: str
    url: str
    is_current: bool
    counts_incidents: bool


def shell(request: HttpRequest) -> Mapping[str, object]:
    """Return the frame's context. Queries run only where a template asks for their result, so not in the admin."""
    tenant: Tenant | None = getattr(request, "tenant", None)
    membership: Any = getattr(request, "membership", None)
    base: dict[str, object] = {"server_now": timezone.now(), "tenant": tenant, "permissions": frozenset()}
    if tenant is None or membership is None:
        return base
    permissions: frozenset[str] = membership.permissions
    return base | {
        "permissions": permissions,
        "nav": cache(lambda: _list_nav(request, permissions)),
        "role_names": cache(lambda: ", ".join(sorted(role.name for role in membership.roles.all()))),
        "other_tenants": cache(lambda: _list_other_tenants(membership.user, tenant)),
        "new_incident_count": cache(lambda: _count_new_incidents(permissions)),
    }


def _list_nav(request: HttpRequest, permissions: frozenset[str]) -> list[NavItem]:
    current = request.resolver_match.url_name if request.resolver_match else None
    return [
        NavItem(label, icon, reverse(name), current == name or current in below, name == "incidents")
        for label, icon, name, permission, below in _PAGES
        if allows(permissions, permission)
    ]


def _list_other_tenants(user: User, tenant: Tenant) -> list[Tenant]:
    return list(
        Tenant.objects.filter(memberships__user=user, memberships__is_active=True, status=Tenant.Status.ACTIVE).exclude(id=tenant.id)
    )


def _count_new_incidents(permissions: frozenset[str]) -> int:
    return Incident.objects.filter(state=Incident.State.NEW).count() if allows(permissions, "incident:read") else 0
