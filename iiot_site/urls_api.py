"""The REST API below `api/v1/`, the same inside a tenant and outside. One line per app, from its `api/urls.py`."""

from csp.decorators import csp_update
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

# ReDoc fills style elements that it made empty (the first hash), has one fixed sheet, and searches in a worker.
_redoc_policy = csp_update(
    {
        "style-src": ["'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='", "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"],
        "worker-src": ["'self'", "blob:"],
    }
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("protocols.api.urls")),  # first: telemetry comes most often
    path("", include("iiot_site.web.health_urls")),
    path("", include("tenants.api.urls")),
    path("", include("devices.api.urls")),
    path("", include("connections.api.urls")),
    path("", include("telemetry.api.urls")),
    path("", include("alerting.api.urls")),
    path("", include("rules.api.urls")),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerSplitView.as_view(), name="docs"),
    re_path(r"^redoc/?$", _redoc_policy(SpectacularRedocView.as_view()), name="redoc"),
]
