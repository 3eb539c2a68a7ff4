"""Reads about tenants and memberships. What every request needs is kept in the process for a few seconds."""

import re
import uuid
from threading import Lock
from typing import Any

from cachetools import TTLCache, cached

from tenants.connection import connection
from tenants.models import SLUG_PATTERN, Domain, Membership, Tenant, User

CACHE_SECONDS = 5
PUBLIC_SCHEMA = "public"


def clear_tenant_cache() -> None:
    """Forget what this process remembers; other processes follow within `CACHE_SECONDS`."""
    get_tenant_by_slug.cache_clear()
    _load_domains.cache_clear()


@cached(TTLCache[Any, Tenant | None](maxsize=4096, ttl=CACHE_SECONDS), lock=Lock())
def get_tenant_by_slug(slug: str) -> Tenant | None:
    """Return the tenant in whatever state, or None. At most `CACHE_SECONDS` old."""
    return load_tenant(slug) if re.match(SLUG_PATTERN, slug) else None


def load_tenant(slug: str) -> Tenant | None:
    """Return the tenant that has the short name now, from no cache."""
    tenant: Tenant | None = Tenant.objects.filter(slug=slug).first()
    return tenant


def get_active_tenant(slug: str) -> Tenant | None:
    """Return the tenant if it may be used now."""
    tenant = get_tenant_by_slug(slug)
    return tenant if tenant is not None and tenant.status == Tenant.Status.ACTIVE else None


@cached(TTLCache[Any, dict[str, str]](maxsize=1, ttl=CACHE_SECONDS), lock=Lock())
def _load_domains() -> dict[str, str]:
    return dict(Domain.objects.values_list("domain", "tenant__slug"))


def get_slug_by_host(host: str) -> str | None:
    """Return the slug of the tenant that owns the host name (without port)."""
    return _load_domains().get(host.lower())


def list_active_tenants() -> list[Tenant]:
    """Return the tenants that may be used, by name."""
    return list(Tenant.objects.filter(status=Tenant.Status.ACTIVE).order_by("name"))


def current_tenant() -> Tenant | None:
    """Return the tenant that the connection is in; None in the shared schema."""
    tenant = connection.tenant
    if isinstance(tenant, Tenant):
        return tenant
    return None if tenant.schema_name == PUBLIC_SCHEMA else Tenant.objects.filter(schema_name=tenant.schema_name).first()


def load_membership(*, user_id: uuid.UUID, tenant: Tenant) -> Membership | None:
    """Return the active membership of an active user, with user and roles loaded; None for an outsider."""
    return (
        Membership.objects.filter(user_id=user_id, tenant_id=tenant.pk, is_active=True, user__is_active=True)
        .select_related("user")
        .prefetch_related("roles")
        .first()
    )


def list_memberships(user: User) -> list[Membership]:
    """Return where a person may go: active memberships in active tenants, by the tenant's name."""
    return list(
        user.memberships.filter(is_active=True, tenant__status=Tenant.Status.ACTIVE)
        .select_related("tenant")
        .prefetch_related("roles")
        .order_by("tenant__name")
    )
