"""The REST API below `api/v1/`, the same inside a tenant and outside. One line per app, from its `api/urls.py`."""

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("iiot_site.web.health_urls")),
    path("", include("tenants.api.urls")),
    path("", include("devices.api.urls")),
    path("", include("telemetry.api.urls")),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerSplitView.as_view(), name="docs"),
    re_path(r"^redoc/?$", SpectacularRedocView.as_view(), name="redoc"),
]
# While the apps are being built; one plain line each once all of them are there.
for _app in ("alerting", "rules", "protocols"):
    if find_spec(f"{_app}.api.urls"):
        urlpatterns.append(path("", include(f"{_app}.api.urls")))
