"""Authenticates devices by their access token, for the telemetry endpoint only."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from devices.credential_formats import TOKEN_START, parse_device_token
from devices.services import authenticate_device_token
from tenants.api.authentication import REALM, bind_tenant, read_bearer, set_principal
from tenants.principals import Principal
from tenants.selectors import get_active_tenant

DEVICE_PERMISSIONS = frozenset({"telemetry:write"})


class DeviceTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer iiot_dev_<tenant>.<prefix>.<secret>`; enters the tenant that the token names.

    `request.principal.device` is the `DeviceRef` that the caller may write for, and no other.
    """

    def authenticate_header(self, request: Request) -> str:
        return REALM

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        token = read_bearer(request)
        if token is None or not token.startswith(TOKEN_START):
            return None
        parts = parse_device_token(token)
        tenant = get_active_tenant(parts.tenant) if parts else None
        if tenant is None:
            raise self._failure()
        bind_tenant(request, tenant)
        device = authenticate_device_token(token=token, now=timezone.now())
        if device is None:
            raise self._failure()
        set_principal(request, Principal(kind="device", permissions=DEVICE_PERMISSIONS, device=device))
        return AnonymousUser(), device

    @staticmethod
    def _failure() -> AuthenticationFailed:
        return AuthenticationFailed("The device token is not valid.", code="token_invalid")


class DeviceTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library registers it there
    """Describes the token in the OpenAPI schema."""

    target_class = DeviceTokenAuthentication
    name = "deviceToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "iiot_dev_<tenant>.<prefix>.<secret>"}
