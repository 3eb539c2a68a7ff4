"""Health checks of the API."""

from django.urls import re_path

from iiot_site.web.health_views import HealthView, LiveView

urlpatterns = [
    re_path(r"^health/?$", HealthView.as_view(), name="health"),
    re_path(r"^health/ready/?$", HealthView.as_view(), name="health-ready"),
    re_path(r"^health/live/?$", LiveView.as_view(), name="health-live"),
]
