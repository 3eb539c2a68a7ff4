"""Routes of telemetry and listeners."""

from django.urls import re_path

from protocols.api.decode_views import DecodeView
from protocols.api.views import ListenerListView, TelemetryView

urlpatterns = [
    re_path(r"^telemetry/?$", TelemetryView.as_view(), name="telemetry"),
    re_path(r"^protocols/decode/?$", DecodeView.as_view(), name="decode"),
    re_path(r"^protocols/listeners/?$", ListenerListView.as_view(), name="listeners"),
]
