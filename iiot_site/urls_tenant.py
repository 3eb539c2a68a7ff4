"""Inside a tenant, below `/t/<slug>/`. Only members get here (tenants.middleware); the API checks for itself."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    # the web shell and the apps add: "" (home), "devices", "incidents"
    path("api/v1/", include("iiot_site.urls_api")),
    path("admin/", admin.site.urls),
]
