"""Pages inside a tenant that need more than one app."""

from django.urls import path

from iiot_site.web import (
    codec_views,
    credential_views,
    device_views,
    frame_views,
    ingest_views,
    listener_views,
    opcua_views,
    overview_views,
)

urlpatterns = [
    path("", overview_views.show_overview, name="home"),
    path("overview/figures", overview_views.show_figures, name="overview-figures"),
    path("overview/incidents", overview_views.show_incidents, name="overview-incidents"),
    path("overview/silent", overview_views.show_silent, name="overview-silent"),
    path("overview/rate", overview_views.show_rate, name="overview-rate"),
    path("ingest", ingest_views.show_ingest, name="ingest"),
    path("listeners", listener_views.show_listeners, name="listeners"),
    path("ingest/rejected", ingest_views.show_rejected, name="rejected-messages"),
    path("devices", device_views.show_devices, name="devices"),
    path("devices/<uuid:device_id>", device_views.show_device, name="device"),
    path("devices/<uuid:device_id>/incidents", device_views.show_device_incidents, name="device-incidents"),
    path("devices/<uuid:device_id>/health", device_views.show_device_health, name="device-health"),
    path("devices/<uuid:device_id>/frames", frame_views.show_frames, name="device-frames"),
    path("devices/<uuid:device_id>/chart", device_views.show_device_chart, name="device-chart"),
    path("devices/<uuid:device_id>/credentials", credential_views.show_credentials, name="device-credentials"),
    path("devices/<uuid:device_id>/credentials/issue", credential_views.issue_device_credential, name="device-credential-issue"),
    path(
        "devices/<uuid:device_id>/credentials/<uuid:credential_id>/rotate",
        credential_views.rotate_device_credential,
        name="device-credential-rotate",
    ),
    path(
        "devices/<uuid:device_id>/credentials/<uuid:credential_id>/revoke",
        credential_views.revoke_device_credential,
        name="device-credential-revoke",
    ),
    path("opcua", opcua_views.show_servers, name="opcua-servers"),
    path("opcua/<uuid:server_id>", opcua_views.show_server, name="opcua-server"),
    path("opcua/<uuid:server_id>/browse", opcua_views.browse, name="opcua-browse-page"),
    path("opcua/<uuid:server_id>/pick", opcua_views.show_pick, name="opcua-pick"),
    path("opcua/<uuid:server_id>/map", opcua_views.map_node, name="opcua-map"),
    path("opcua/<uuid:server_id>/unmap/<uuid:mapping_id>", opcua_views.unmap_node, name="opcua-unmap"),
    path("opcua/<uuid:server_id>/trust", opcua_views.trust, name="opcua-trust"),
    path("opcua/<uuid:server_id>/check", opcua_views.check, name="opcua-check"),
    path("codec-bench", codec_views.show_codec_bench, name="codec-bench"),
]
