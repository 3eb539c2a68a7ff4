"""Pages outside of every tenant."""

from django.urls import path

from iiot_site.web import platform_views, session_views, tenant_views

urlpatterns = [
    path("", tenant_views.pick_tenant, name="home"),
    path("listeners", platform_views.show_platform_listeners, name="platform-listeners"),
    path("login", session_views.log_in, name="login"),
    path("logout", session_views.log_out, name="logout"),
]
