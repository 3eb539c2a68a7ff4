"""Routes of rules."""

from iiot_site.lib.routers import OptionalSlashRouter
from rules.api.views import RuleViewSet

router = OptionalSlashRouter()
router.register("rules", RuleViewSet, basename="rule")
urlpatterns = router.urls
