"""Inside a tenant, below `/t/<slug>/`. Only members get here (tenants.middleware); the API checks for itself."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("iiot_site.web.urls_tenant")),
    path("", include("alerting.urls")),
    path("api/v1/", include("iiot_site.urls_api")),
    path("admin/", admin.site.urls),
]
handler404 = "iiot_site.error_views.show_not_found"
handler500 = "iiot_site.error_views.show_server_error"
