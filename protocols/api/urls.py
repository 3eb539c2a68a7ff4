"""Routes of telemetry and listeners."""

from django.urls import re_path

from protocols.api.views import ListenerListView, TelemetryView

urlpatterns = [
    re_path(r"^telemetry/?$", TelemetryView.as_view(), name="telemetry"),
    re_path(r"^protocols/listeners/?$", ListenerListView.as_view(), name="listeners"),
]
