"""The REST API below `api/v1/`, the same inside a tenant and outside. One line per app, from its `api/urls.py`."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("iiot_site.web.health_urls")),
    path("", include("tenants.api.urls")),
    path("", include("devices.api.urls")),
    path("", include("telemetry.api.urls")),
    path("", include("alerting.api.urls")),
    path("", include("rules.api.urls")),
    path("", include("protocols.api.urls")),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerSplitView.as_view(), name="docs"),
    re_path(r"^redoc/?$", SpectacularRedocView.as_view(), name="redoc"),
]
