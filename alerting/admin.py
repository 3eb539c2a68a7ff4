"""Alerts and incidents to look at; incidents are acknowledged and resolved through the services."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import TabularInline

from alerting.models import Alert, Incident, IncidentEvent
from alerting.services import transition_incident
from iiot_site.lib.errors import IIoTError
from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


class TimelineInline(ReadOnlyMixin, TabularInline):
    """What happened to the incident, oldest first."""

    model = IncidentEvent
    verbose_name_plural = "timeline"
    fields = ["at", "kind", "who", "text"]
    readonly_fields = fields
    extra = 0

    @admin.display(description="Who")
    def who(self, event: IncidentEvent) -> str:
        return event.actor_name or "the platform"


@admin.register(Incident)
class IncidentAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["number", "title", "state", "severity", "device", "assignee", "opened_at"]
    list_display_links = ["number", "title"]
    list_filter = ["state", "severity"]
    list_select_related = ["device", "assignee"]
    search_fields = ["title", "device__name", "device__key"]
    date_hierarchy = "opened_at"
    actions = ["acknowledge", "resolve"]
    inlines = [TimelineInline]

    def has_work_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may act on incidents, which are otherwise read-only here."""
        return bool(request.user.has_perm("alerting.change_incident"))

    @admin.action(description="Acknowledge", permissions=["work"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._transition(request, queryset, "acknowledge")

    @admin.action(description="Resolve", permissions=["work"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._transition(request, queryset, "resolve")

    def _transition(self, request: HttpRequest, incidents: QuerySet[Incident], action: str) -> None:
        actor: Any = request.user
        done = 0
        for incident in incidents.order_by("number"):
            try:
                transition_incident(incident_id=incident.pk, action=action, actor=actor, now=timezone.now())
                done += 1
            except IIoTError as exc:
                self.message_user(request, f"#{incident.number}: {exc.detail}", messages.WARNING)
        self.message_user(request, f"Done for {done}.", messages.SUCCESS if done else messages.INFO)


@admin.register(Alert)
class AlertAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["summary", "severity", "incident", "device", "occurred_at", "resolved_at", "count"]
    list_filter = ["severity", ("resolved_at", admin.EmptyFieldListFilter)]
    list_select_related = ["incident", "device"]
    search_fields = ["summary", "device__name", "device__key", "source"]
    date_hierarchy = "occurred_at"
