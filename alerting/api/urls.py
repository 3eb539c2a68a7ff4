"""Routes of alerts and incidents. `alerts/incidents` stands first: an alert's id would not match it, but order is clearer."""

from alerting.api.views import AlertViewSet, IncidentViewSet
from iiot_site.lib.routers import OptionalSlashRouter

router = OptionalSlashRouter()
router.register("alerts/incidents", IncidentViewSet, basename="incident")
router.register("alerts", AlertViewSet, basename="alert")
urlpatterns = router.urls
