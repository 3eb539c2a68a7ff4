"""Connections and register maps in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from connections import services
from connections.models import ModbusConnection, ModbusRegister, ModbusRegisterMap
from connections.opcua_admin import OpcUaNodeAdmin, OpcUaServerAdmin
from tenants.admin_base import TenantModelAdmin

__all__ = ["ModbusConnectionAdmin", "ModbusRegisterMapAdmin", "OpcUaNodeAdmin", "OpcUaServerAdmin"]


@admin.register(ModbusConnection)
class ModbusConnectionAdmin(TenantModelAdmin):
    list_display = ["device", "host", "port", "unit_id", "poll_interval", "is_enabled", "shown_state", "last_error", "last_answer_at"]
    list_filter = ["state", "is_enabled"]
    list_select_related = ["device"]
    search_fields = ["device__name", "device__key", "host"]
    autocomplete_fields = ["device"]
    readonly_fields = ["shown_state", "state_at", "last_error", "last_answer_at"]
    fieldsets = [
        (None, {"fields": ["device", "host", "port", "unit_id", "poll_interval", "timeout", "is_enabled"]}),
        ("How it goes", {"fields": ["shown_state", "state_at", "last_error", "last_answer_at"]}),
    ]

    @display(description="State", label={"connected": "success", "failing": "danger", "waiting": "info"})
    def shown_state(self, connection: ModbusConnection) -> str:
        return connection.state

    def save_model(self, request: HttpRequest, obj: ModbusConnection, form: Any, change: bool) -> None:
        services.save_modbus_connection(modbus_connection=obj)

    def delete_model(self, request: HttpRequest, obj: ModbusConnection) -> None:
        services.delete_modbus_connection(modbus_connection=obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for connection in queryset:
            services.delete_modbus_connection(modbus_connection=connection)


class ModbusRegisterInline(TabularInline):
    model = ModbusRegister
    fk_name = "device_type"
    fields = ["metric", "table", "address", "data_type", "length", "word_order", "byte_swap", "scale", "offset", "bit"]
    extra = 0


@admin.register(ModbusRegisterMap)
class ModbusRegisterMapAdmin(TenantModelAdmin):
    """Device types, each with its registers; the types themselves are made under Devices."""

    list_display = ["name", "register_count"]
    list_before_template = "admin/connections/register_maps.html"
    search_fields = ["name"]
    fields = ["name"]
    readonly_fields = ["name"]
    inlines = [ModbusRegisterInline]

    @display(description="Registers")
    def register_count(self, register_map: ModbusRegisterMap) -> int:
        return register_map.modbus_registers.count()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ModbusRegisterMap, form: Any, change: bool) -> None:
        """Leave the type as it is."""

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for register in formset.save(commit=False):
            services.save_modbus_register(register=register)
        for register in formset.deleted_objects:
            services.delete_modbus_register(register=register)
