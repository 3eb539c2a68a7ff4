"""What the lists can be narrowed by."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from alerting.models import Alert, Incident, Severity
from alerting.selectors import open_incidents
from devices.selectors import list_site_subtree_ids

OPEN = "open"


class IncidentFilter(filters.FilterSet):
    state = filters.ChoiceFilter(
        method="filter_state", choices=[(OPEN, "Not resolved"), *Incident.State.choices], help_text="A state, or open for all but resolved."
    )
    severity = filters.MultipleChoiceFilter(choices=Severity.choices)
    device = filters.UUIDFilter(field_name="device__uuid")
    site = filters.UUIDFilter(method="filter_site", help_text="The site and everything below it.")
    assignee = filters.UUIDFilter(field_name="assignee_id")

    class Meta:
        model = Incident
        fields: list[str] = []

    def filter_state(self, queryset: QuerySet[Incident], name: str, value: str) -> QuerySet[Incident]:
        return queryset.filter(open_incidents()) if value == OPEN else queryset.filter(state=value)

    def filter_site(self, queryset: QuerySet[Any], name: str, value: uuid.UUID) -> QuerySet[Any]:
        return queryset.filter(site_id__in=list_site_subtree_ids(value))


class AlertFilter(filters.FilterSet):
    state = filters.ChoiceFilter(method="filter_state", choices=[("firing", "Firing"), ("resolved", "Resolved")])
    severity = filters.MultipleChoiceFilter(choices=Severity.choices)
    device = filters.UUIDFilter(field_name="device__uuid")
    site = filters.UUIDFilter(method="filter_site", help_text="The site of the alert's device and everything below it.")
    incident = filters.UUIDFilter(field_name="incident_id")

    class Meta:
        model = Alert
        fields = ["source"]

    def filter_state(self, queryset: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        return queryset.filter(resolved_at__isnull=value == "firing")

    def filter_site(self, queryset: QuerySet[Alert], name: str, value: uuid.UUID) -> QuerySet[Alert]:
        return queryset.filter(device__site_id__in=list_site_subtree_ids(value))
