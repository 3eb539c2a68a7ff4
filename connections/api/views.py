"""CRUD of connections and register maps."""

from drf_spectacular.utils import extend_schema_view

from connections import services
from connections.api.filters import ModbusConnectionFilter, ModbusRegisterFilter
from connections.api.serializers import ModbusConnectionSerializer, ModbusRegisterSerializer
from connections.models import ModbusConnection, ModbusRegister
from devices.api.views import PlantViewSet, example


@extend_schema_view(
    create=example(
        "A device on its own address",
        {"device": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1", "host": "10.0.4.17", "unit_id": 1, "poll_interval_seconds": 1},
    )
)
class ModbusConnectionViewSet(PlantViewSet):
    """Where devices answer Modbus TCP, and how that goes."""

    permission_resource = "connection"
    queryset = ModbusConnection.objects.select_related("device")
    serializer_class = ModbusConnectionSerializer
    filterset_class = ModbusConnectionFilter
    search_fields = ["device__name", "device__key", "host"]
    ordering_fields = ["host", "state", "last_answer_at"]

    def save(self, instance: ModbusConnection) -> None:
        services.save_modbus_connection(modbus_connection=instance)

    def perform_destroy(self, instance: ModbusConnection) -> None:
        services.delete_modbus_connection(modbus_connection=instance)


@extend_schema_view(
    create=example(
        "A temperature in tenths of a degree",
        {
            "device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1",
            "metric": "temperature",
            "table": "holding",
            "address": 0,
            "data_type": "int16",
            "scale": 0.1,
        },
    )
)
class ModbusRegisterViewSet(PlantViewSet):
    """Where values lie in the Modbus devices of a type."""

    permission_resource = "connection"
    queryset = ModbusRegister.objects.select_related("device_type").order_by("device_type__name", "table", "address", "id")
    serializer_class = ModbusRegisterSerializer
    filterset_class = ModbusRegisterFilter
    search_fields = ["metric", "device_type__name"]
    ordering_fields = ["metric", "address"]

    def save(self, instance: ModbusRegister) -> None:
        services.save_modbus_register(register=instance)

    def perform_destroy(self, instance: ModbusRegister) -> None:
        services.delete_modbus_register(register=instance)
