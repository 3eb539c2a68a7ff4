"""Who may open a live socket, and which topics of it. Synchronous; the consumer runs it on a thread.

Closed by default: whatever does not name exactly one active tenant that the caller belongs to is refused, and all
refusals look the same.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils import timezone
from django_tenants.utils import schema_context

from devices.models import Device, Site
from iiot_site.lib.errors import IIoTError
from iiot_site.lib.turns import turns
from tenants.models import Tenant, User
from tenants.permissions import allows, allows_all
from tenants.selectors import get_active_tenant, get_slug_by_host, load_membership
from tenants.tokens import read_access_token

_PERMISSIONS = {"device": "telemetry:read", "site": "device:read"}
_OF_THE_PLANT = {"incidents": ("incident:read",), "overview": ("incident:read", "device:read")}


@dataclass(frozen=True, slots=True)
class LiveCaller:
    """Who is behind a socket, in which tenant, with which rights, as of the last check."""

    user_id: uuid.UUID
    schema: str
    permissions: frozenset[str]


def authenticate_socket(*, headers: Mapping[str, str], path_slug: str | None) -> LiveCaller | None:
    """Return the caller, or None to refuse. Called at the handshake and again every minute with the same headers.

    Raises:
        TenantBusyError: the tenant has its share of the process in work.
    """
    host = headers.get("host", "")
    if not _is_own_host(host) or not _is_same_origin(headers.get("origin"), host):
        return None
    with schema_context("public"):
        user, token_slug = _identify(headers)
        if user is None:
            return None
        tenant = _choose_tenant({path_slug, token_slug, headers.get("x-tenant"), get_slug_by_host(split_domain_port(host)[0])})
        if tenant is None:
            return None
        with turns.turn(tenant.slug):
            membership = load_membership(user_id=user.pk, tenant=tenant)
        if membership is None:
            return None
        return LiveCaller(user.pk, tenant.schema_name, membership.permissions)


def may_subscribe(*, caller: LiveCaller, topic: str) -> bool:
    """Tell whether the topic exists in the caller's tenant and the caller may read it. Unknown and foreign look alike."""
    if topic in _OF_THE_PLANT:
        return allows_all(caller.permissions, _OF_THE_PLANT[topic])
    kind, _, name = topic.partition(":")
    if not allows(caller.permissions, _PERMISSIONS.get(kind, "")):
        return False
    try:
        id_ = uuid.UUID(name)
    except ValueError:
        return False
    with schema_context(caller.schema):
        known = Device.objects.filter(uuid=id_) if kind == "device" else Site.objects.filter(id=id_)
        return str(id_) == name and known.exists()


def _is_own_host(host: str) -> bool:
    name, _ = split_domain_port(host)
    return bool(name) and validate_host(name, settings.ALLOWED_HOSTS)


def _is_same_origin(origin: str | None, host: str) -> bool:
    """A browser always sends Origin; a program may leave it out. A page of any other host is refused."""
    return origin is None or (urlsplit(origin).netloc.lower() == host.lower() and urlsplit(origin).scheme in {"http", "https"})


def _identify(headers: Mapping[str, str]) -> tuple[User | None, str | None]:
    """Return the person by bearer token or session, and the tenant that the token names."""
    if "authorization" not in headers:
        return _user_of_session(headers.get("cookie", "")), None
    scheme, _, token = headers["authorization"].partition(" ")
    if scheme.lower() != "bearer":
        return None, None
    try:
        holder = read_access_token(token.strip(), now=timezone.now())
    except IIoTError:
        return None, None
    return holder.user, holder.tenant.slug if holder.tenant else None


def _user_of_session(cookie_header: str) -> User | None:
    try:
        cookie = SimpleCookie(cookie_header).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    if cookie is None:
        return None
    request = HttpRequest()
    session_store: Any = import_module(settings.SESSION_ENGINE)
    request.session = session_store.SessionStore(cookie.value)
    user = get_user(request)
    return user if isinstance(user, User) else None


def _choose_tenant(named: set[str | None]) -> Tenant | None:
    slugs = named - {None}
    return get_active_tenant(slugs.pop() or "") if len(slugs) == 1 else None
