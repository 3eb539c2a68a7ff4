"""OPC UA servers and their nodes in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from connections import opcua_services as services
from connections.opcua_models import OpcUaNode, OpcUaServer
from tenants.admin_base import TenantModelAdmin

_STATE_COLOURS = {"connected": "success", "failing": "danger", "connecting": "warning", "waiting": "info"}


class OpcUaServerForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when it runs
    password = forms.CharField(
        required=False,
        strip=False,
        max_length=200,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Kept sealed and never shown. Empty: as it is.",
    )


class OpcUaNodeInline(TabularInline):
    model = OpcUaNode
    fields = ["node_id", "device", "metric", "scale", "offset", "deadband", "command", "problem"]
    readonly_fields = ["problem"]
    autocomplete_fields = ["device"]
    extra = 0
    per_page = 50
    show_change_link = True


@admin.register(OpcUaServer)
class OpcUaServerAdmin(TenantModelAdmin):
    """Its certificate is accepted on the page OPC UA, where it can be compared."""

    form = OpcUaServerForm
    list_display = ["name", "endpoint_url", "security", "is_enabled", "shown_state", "item_count", "last_error", "heard_at"]
    list_filter = ["state", "is_enabled", "security"]
    search_fields = ["name", "endpoint_url"]
    readonly_fields = ["trusted_fingerprint", "offered_fingerprint", "shown_state", "state_at", "last_error", "heard_at", "item_count"]
    fieldsets = [
        (None, {"fields": ["name", "endpoint_url", "is_enabled"]}),
        ("Security", {"fields": ["security", "authentication", "username", "password", "trusted_fingerprint", "offered_fingerprint"]}),
        ("Pace", {"fields": ["publishing_interval", "sampling_interval"]}),
        ("How it goes", {"fields": ["shown_state", "state_at", "last_error", "heard_at", "item_count"]}),
    ]
    inlines = [OpcUaNodeInline]

    @display(description="State", label=_STATE_COLOURS)
    def shown_state(self, server: OpcUaServer) -> str:
        return server.state

    def save_model(self, request: HttpRequest, obj: OpcUaServer, form: Any, change: bool) -> None:
        services.save_opcua_server(server=obj, password=form.cleaned_data.get("password") or None)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for node in formset.save(commit=False):
            services.save_opcua_node(node=node)
        for node in formset.deleted_objects:
            services.delete_opcua_node(node=node)

    def delete_model(self, request: HttpRequest, obj: OpcUaServer) -> None:
        services.delete_opcua_server(server=obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for server in queryset:
            services.delete_opcua_server(server=server)


@admin.register(OpcUaNode)
class OpcUaNodeAdmin(TenantModelAdmin):
    list_display = ["node_id", "server", "device", "metric", "command", "scale", "offset", "problem"]
    list_filter = ["server"]
    list_select_related = ["server", "device"]
    search_fields = ["node_id", "metric", "device__name", "device__key"]
    autocomplete_fields = ["server", "device"]
    readonly_fields = ["problem"]

    def save_model(self, request: HttpRequest, obj: OpcUaNode, form: Any, change: bool) -> None:
        services.save_opcua_node(node=obj)

    def delete_model(self, request: HttpRequest, obj: OpcUaNode) -> None:
        services.delete_opcua_node(node=obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for node in queryset:
            services.delete_opcua_node(node=node)
