"""Answers Django's login and permission questions from memberships: tenant models inside a tenant, shared ones outside."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from tenants.models import Membership, User
from tenants.permissions import allows, permission_of_codename
from tenants.selectors import current_tenant, load_membership

# Shared models that a tenant's administrators manage for their own tenant.
SHARED_WITH_TENANTS = {"tenants.membership", "tenants.apikey"}


MAX_PASSWORD_CHARACTERS = 1024  # hashing more would only cost time


def is_tenant_app(app_label: str) -> bool:
    """Tell whether the app's tables exist once per tenant."""
    return app_label in settings.TENANT_APPS


def _membership_here(user: User) -> Membership | None:
    """Return the user's membership in the connection's tenant; asked once per user object, that is per request."""
    tenant = current_tenant()
    if tenant is None:
        return None
    if tenant.pk not in user.known_memberships:
        user.known_memberships[tenant.pk] = load_membership(user_id=user.pk, tenant=tenant)
    return user.known_memberships[tenant.pk]


class TenantPermissionBackend(BaseBackend):
    """Logs people in by e-mail and password; grants Django permissions by role."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        email = credentials.get("username") or credentials.get("email")
        password = credentials.get("password")
        if not email or not password or len(password) > MAX_PASSWORD_CHARACTERS or "\0" in email:
            return None
        try:
            user = User.objects.get_by_natural_key(email)
        except User.DoesNotExist:
            User().set_password(password)  # the same work as for a known address, so that time tells nothing
            return None
        return user if user.check_password(password) and user.is_active else None

    def get_user(self, user_id: Any) -> User | None:
        return User.objects.filter(pk=user_id, is_active=True).first()

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        app_label, _, codename = perm.partition(".")
        model_label = f"{app_label}.{codename.partition('_')[2]}"
        if current_tenant() is None:
            return user_obj.is_platform_admin and not is_tenant_app(app_label)
        if not is_tenant_app(app_label) and model_label not in SHARED_WITH_TENANTS:
            return False
        membership = _membership_here(user_obj)
        return membership is not None and allows(membership.permissions, permission_of_codename(codename))

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        if current_tenant() is None:
            return user_obj.is_platform_admin and not is_tenant_app(app_label)
        return (is_tenant_app(app_label) or app_label == "tenants") and _membership_here(user_obj) is not None
