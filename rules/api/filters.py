"""What the list of rules can be narrowed by."""

from django_filters import rest_framework as filters

from rules.models import Rule


class RuleFilter(filters.FilterSet):
    device = filters.UUIDFilter(field_name="device__uuid", help_text="Only rules for this very device.")
    device_type = filters.UUIDFilter(field_name="device_type__uuid")
    site = filters.UUIDFilter(field_name="site_id")
    metric = filters.CharFilter(field_name="condition__metric", help_text="Only rules that read this metric.")

    class Meta:
        model = Rule
        fields = ["is_enabled", "severity"]
