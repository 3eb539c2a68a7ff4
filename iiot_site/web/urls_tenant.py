"""Pages inside a tenant that need more than one app."""

from django.urls import path

from iiot_site.web import codec_views, device_views, ingest_views, overview_views

urlpatterns = [
    path("", overview_views.show_overview, name="home"),
    path("overview/figures", overview_views.show_figures, name="overview-figures"),
    path("overview/incidents", overview_views.show_incidents, name="overview-incidents"),
    path("overview/silent", overview_views.show_silent, name="overview-silent"),
    path("overview/rate", overview_views.show_rate, name="overview-rate"),
    path("ingest", ingest_views.show_ingest, name="ingest"),
    path("ingest/rejected", ingest_views.show_rejected, name="rejected-messages"),
    path("devices", device_views.show_devices, name="devices"),
    path("devices/<uuid:device_id>", device_views.show_device, name="device"),
    path("devices/<uuid:device_id>/incidents", device_views.show_device_incidents, name="device-incidents"),
    path("devices/<uuid:device_id>/chart", device_views.show_device_chart, name="device-chart"),
    path("codec-bench", codec_views.show_codec_bench, name="codec-bench"),
]
