"""The API's permission classes. A view that declares nothing is denied to everybody."""

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.errors import TenantMissingError
from tenants.permissions import READ, WRITE, allows


def needed_permission(view: Any, method: str) -> str | None:
    """Return the `resource:action` that `view` declares for `method`; None if it declares nothing.

    `required_permissions = {"POST": "incident:write"}` wins over `permission_resource = "device"`, which stands for
    `device:read` with safe methods and `device:write` with the others.
    """
    declared: dict[str, str] = getattr(view, "required_permissions", {})
    if method in declared:
        return declared[method]
    resource: str | None = getattr(view, "permission_resource", None)
    return f"{resource}:{READ if method in SAFE_METHODS else WRITE}" if resource else None


def _principal(request: Request) -> Any:
    principal = getattr(request, "principal", None)
    if principal is None:
        raise NotAuthenticated
    return principal


class HasTenantPermission(BasePermission):
    """401 without a caller, 403 without the declared permission; the tenant itself was checked on the way in."""

    def has_permission(self, request: Request, view: Any) -> bool:
        principal = _principal(request)
        if request.tenant is None:  # type: ignore[attr-defined]  # set by TenantMiddleware
            raise TenantMissingError("Name the tenant: log in to one, send X-Tenant, or use the path /t/<tenant>/api/v1/.")
        needed = needed_permission(view, str(request.method))
        if needed is None:
            return False
        self.message = f"This needs the permission {needed}, which is missing here."
        return allows(principal.permissions, needed)


class IsPerson(BasePermission):
    """A logged-in person, in a tenant or not: for what concerns only themselves."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return _principal(request).user is not None


class IsPlatformAdmin(BasePermission):
    """A person who runs the platform, whichever tenant the request names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        principal = _principal(request)
        return principal.user is not None and principal.user.is_platform_admin
