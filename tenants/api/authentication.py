"""Who calls the API: a person by JWT or session, or a program by API key; and into which tenant the request goes."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants.api_keys import API_KEY_START, read_api_key
from tenants.errors import TenantNotFoundError, TokenInvalidError
from tenants.middleware import enter_tenant, set_session_principal
from tenants.models import Tenant
from tenants.principals import Principal
from tenants.tokens import read_access_token

REALM = 'Bearer realm="api"'
DEVICE_TOKEN_START = "iiot_dev_"  # noqa: S105 - how every token of a device starts, not a secret; see devices.credential_formats
USE_ANOTHER = (
    "The token of a device opens POST /telemetry and what is under /device/, nothing else. "
    "Use an API key here, or the access token that POST /auth/login gives."
)


def read_bearer(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer <token>`, or None where there is no such header."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not token.isascii() or not token.strip():
        raise AuthenticationFailed("The bearer token is not valid.", code="token_invalid")
    return str(token.strip())


def bind_tenant(request: Request, tenant: Tenant | None) -> None:
    """Enter the tenant that a token names. Raises Http404 when the path, host or header names another one."""
    http_request = request._request  # noqa: SLF001  # DRF offers no other way to the request that views share
    asked = http_request.tenant_slug  # type: ignore[attr-defined]  # set by TenantMiddleware
    if asked is not None and (tenant is None or tenant.slug != asked):
        raise Http404
    if tenant is not None:
        enter_tenant(http_request, tenant)


def set_principal(request: Request, principal: Principal, membership: Any = None) -> None:
    """Tell the rest of the request who calls."""
    http_request = request._request  # noqa: SLF001  # see bind_tenant
    http_request.principal = principal  # type: ignore[attr-defined]
    http_request.membership = membership  # type: ignore[attr-defined]


class BearerAuthentication(BaseAuthentication):
    """JWT of a person or API key of a program. Devices' tokens are for the telemetry endpoint only."""

    def authenticate_header(self, request: Request) -> str:
        return REALM

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        token = read_bearer(request)
        if token is None:
            return None
        if token.startswith(DEVICE_TOKEN_START):
            raise AuthenticationFailed(USE_ANOTHER, code=TokenInvalidError.code)
        try:
            if token.startswith(API_KEY_START):
                return self._by_api_key(request, token)
            return self._by_jwt(request, token)
        except TokenInvalidError as exc:
            raise AuthenticationFailed(exc.detail, code=exc.code) from exc
        except TenantNotFoundError as exc:
            raise Http404 from exc

    def _by_api_key(self, request: Request, token: str) -> tuple[Any, Any]:
        key = read_api_key(token, now=timezone.now())
        bind_tenant(request, key.tenant)
        set_principal(request, Principal(kind="api_key", permissions=frozenset(key.permissions), api_key=key))
        return AnonymousUser(), key

    def _by_jwt(self, request: Request, token: str) -> tuple[Any, Any]:
        holder = read_access_token(token, now=timezone.now())
        bind_tenant(request, holder.tenant)
        permissions = holder.membership.permissions if holder.membership else frozenset[str]()
        set_principal(request, Principal(kind="user", permissions=permissions, user=holder.user), holder.membership)
        return holder.user, holder


class TenantSessionAuthentication(SessionAuthentication):
    """The browser's session, with CSRF protection, in the tenant of the path, host or `X-Tenant`."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        authenticated = super().authenticate(request)
        if authenticated is None:
            return None
        http_request = request._request  # noqa: SLF001  # see bind_tenant
        membership = set_session_principal(http_request)
        if http_request.tenant_slug is not None and membership is None:  # type: ignore[attr-defined]
            raise Http404
        return authenticated


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library registers it there
    """Describes JWT and API key in the OpenAPI schema."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An access token from /auth/login, or an API key `iiot_key_…`."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # see BearerScheme
    """Describes the browser's session in the OpenAPI schema."""

    target_class = TenantSessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
