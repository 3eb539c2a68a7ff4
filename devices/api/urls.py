"""Routes of sites, device types, metrics, devices and credentials."""

from devices.api.credential_views import CredentialViewSet
from devices.api.views import DeviceTypeViewSet, DeviceViewSet, MetricViewSet, SiteViewSet
from iiot_site.lib.routers import UUID_PATTERN, OptionalSlashRouter

router = OptionalSlashRouter()
router.register("sites", SiteViewSet, basename="site")
router.register("device-types", DeviceTypeViewSet, basename="device-type")
router.register("metrics", MetricViewSet, basename="metric")
router.register("devices", DeviceViewSet, basename="device")
router.register(rf"devices/(?P<id>{UUID_PATTERN})/credentials", CredentialViewSet, basename="device-credential")
urlpatterns = router.urls
