"""Routes of telemetry and listeners."""

from django.urls import re_path

from iiot_site.lib.routers import UUID_PATTERN
from protocols.api.decode_views import DecodeView
from protocols.api.frame_views import DeviceFramesView
from protocols.api.health_views import DeviceHealthView
from protocols.api.opcua_views import OpcUaBrowseView, OpcUaCheckView
from protocols.api.views import ListenerListView, TelemetryView

_SERVER = rf"^protocols/opcua-servers/(?P<server_id>{UUID_PATTERN})"

urlpatterns = [
    re_path(r"^telemetry/?$", TelemetryView.as_view(), name="telemetry"),
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/frames/?$", DeviceFramesView.as_view(), name="device-frames-api"),
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/health/?$", DeviceHealthView.as_view(), name="device-health-api"),
    re_path(r"^protocols/decode/?$", DecodeView.as_view(), name="decode"),
    re_path(rf"{_SERVER}/check/?$", OpcUaCheckView.as_view(), name="opcua-check-api"),
    re_path(rf"{_SERVER}/browse/?$", OpcUaBrowseView.as_view(), name="opcua-browse"),
    re_path(r"^protocols/listeners/?$", ListenerListView.as_view(), name="listeners-api"),
]
