"""Outside of every tenant: login, tenant picker, the API for token holders, the platform's admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    # the web shell adds: "" (home), "login", "logout", "health…"
    path("api/v1/", include("iiot_site.urls_api")),
    path("admin/", admin.site.urls),
]
