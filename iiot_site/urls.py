"""Outside of every tenant: login, tenant picker, the API for token holders, the platform's admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("iiot_site.urls_api")),  # first: what comes most often is found soonest
    path("", include("iiot_site.web.urls")),
    path("admin/", admin.site.urls),
]
handler404 = "iiot_site.error_views.show_not_found"
handler500 = "iiot_site.error_views.show_server_error"
