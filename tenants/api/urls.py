"""Routes of logins and tenants."""

from django.urls import URLPattern, URLResolver, re_path

from iiot_site.lib.routers import UUID_PATTERN, OptionalSlashRouter
from tenants.api.views import LoginView, LogoutView, MeView, RefreshView, SwitchView, TenantViewSet

router = OptionalSlashRouter()
router.register("tenants", TenantViewSet, basename="tenant")
urlpatterns: list[URLPattern | URLResolver] = [
    re_path(r"^auth/login/?$", LoginView.as_view(), name="auth-login"),
    re_path(r"^auth/refresh/?$", RefreshView.as_view(), name="auth-refresh"),
    re_path(r"^auth/logout/?$", LogoutView.as_view(), name="auth-logout"),
    re_path(r"^auth/me/?$", MeView.as_view(), name="auth-me"),
    re_path(rf"^tenants/(?P<tenant_id>{UUID_PATTERN})/switch/?$", SwitchView.as_view(), name="tenant-switch"),
    *router.urls,
]
