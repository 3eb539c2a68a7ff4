"""Routes of sites, device types, metrics, devices and credentials."""

from django.urls import re_path

from devices.api.command_views import CommandViewSet, OwnCommandsView, OwnResponseView
from devices.api.credential_views import CredentialViewSet
from devices.api.import_views import ImportView
from devices.api.provisioning_views import ProvisioningKeyViewSet, ProvisionView
from devices.api.state_views import OwnStateView, StateChangesView, StateView
from devices.api.views import DeviceTypeViewSet, DeviceViewSet, MetricViewSet, SiteViewSet
from iiot_site.lib.routers import UUID_PATTERN, OptionalSlashRouter

router = OptionalSlashRouter()
router.register("sites", SiteViewSet, basename="site")
router.register("device-types", DeviceTypeViewSet, basename="device-type")
router.register("metrics", MetricViewSet, basename="metric")
router.register("devices", DeviceViewSet, basename="device")
router.register(rf"devices/(?P<id>{UUID_PATTERN})/credentials", CredentialViewSet, basename="device-credential")
router.register(rf"devices/(?P<id>{UUID_PATTERN})/commands", CommandViewSet, basename="device-command")
router.register("provisioning-keys", ProvisioningKeyViewSet, basename="provisioning-key")
urlpatterns = [
    re_path(r"^devices/import/?$", ImportView.as_view(), name="device-import"),
    re_path(r"^provision/?$", ProvisionView.as_view(), name="provision"),
    re_path(r"^device/commands/?$", OwnCommandsView.as_view(), name="own-commands"),
    re_path(rf"^device/commands/(?P<cid>{UUID_PATTERN})/response/?$", OwnResponseView.as_view(), name="own-command-response"),
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/state/?$", StateView.as_view(), name="device-state"),
    re_path(rf"^devices/(?P<id>{UUID_PATTERN})/state/changes/?$", StateChangesView.as_view(), name="device-state-changes"),
    re_path(r"^device/state/?$", OwnStateView.as_view(), name="own-state"),
    *router.urls,
]
