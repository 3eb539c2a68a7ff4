"""What lists of connections and registers can be narrowed by."""

from django_filters import rest_framework as filters

from connections.models import ModbusConnection, ModbusRegister, OpcUaNode


class ModbusConnectionFilter(filters.FilterSet):
    device = filters.UUIDFilter(field_name="device__uuid")

    class Meta:
        model = ModbusConnection
        fields = ["state", "is_enabled", "host"]


class ModbusRegisterFilter(filters.FilterSet):
    device_type = filters.UUIDFilter(field_name="device_type__uuid")

    class Meta:
        model = ModbusRegister
        fields = ["table", "metric"]


class OpcUaNodeFilter(filters.FilterSet):
    device = filters.UUIDFilter(field_name="device__uuid")

    class Meta:
        model = OpcUaNode
        fields = ["metric"]
