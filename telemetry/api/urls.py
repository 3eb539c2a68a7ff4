"""Routes of latest values, history and rejected messages. `telemetry` itself is routed by the app `protocols`."""

from django.urls import re_path

from iiot_site.lib.routers import UUID_PATTERN, OptionalSlashRouter
from telemetry.api.ledger_views import LedgerView
from telemetry.api.views import DeviceHistoryView, DeviceLatestView, RejectedMessageViewSet

router = OptionalSlashRouter()
router.register("telemetry/rejected", RejectedMessageViewSet, basename="rejected-message")
urlpatterns = [
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/latest/?$", DeviceLatestView.as_view(), name="device-latest"),
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/telemetry/?$", DeviceHistoryView.as_view(), name="device-telemetry"),
    re_path(r"^telemetry/ledger/?$", LedgerView.as_view(), name="telemetry-ledger"),
    *router.urls,
]
