"""Routes of connections and register maps."""

from connections.api.views import ModbusConnectionViewSet, ModbusRegisterViewSet
from iiot_site.lib.routers import OptionalSlashRouter

router = OptionalSlashRouter()
router.register("protocols/modbus-connections", ModbusConnectionViewSet, basename="modbus-connection")
router.register("protocols/modbus-registers", ModbusRegisterViewSet, basename="modbus-register")
urlpatterns = router.urls
