"""The REST API below `api/v1/`, the same inside a tenant and outside. One line per app, from its `api/urls.py`."""

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("tenants.api.urls")),
    # path("", include("devices.api.urls")),    telemetry.api.urls, alerting.api.urls, rules.api.urls, protocols.api.urls
]
