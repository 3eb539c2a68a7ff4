"""Routes of connections and register maps."""

from connections.api.opcua_views import OpcUaNodeViewSet, OpcUaServerViewSet
from connections.api.views import ModbusConnectionViewSet, ModbusRegisterViewSet
from iiot_site.lib.routers import UUID_PATTERN, OptionalSlashRouter

router = OptionalSlashRouter()
router.register("protocols/modbus-connections", ModbusConnectionViewSet, basename="modbus-connection")
router.register("protocols/modbus-registers", ModbusRegisterViewSet, basename="modbus-register")
router.register("protocols/opcua-servers", OpcUaServerViewSet, basename="opcua-server")
router.register(rf"protocols/opcua-servers/(?P<server_id>{UUID_PATTERN})/mappings", OpcUaNodeViewSet, basename="opcua-mapping")
urlpatterns = router.urls
