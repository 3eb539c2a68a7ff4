"""What the list of rejected messages can be narrowed by."""

from django_filters import rest_framework as filters

from telemetry.models import RejectedMessage


class RejectedMessageFilter(filters.FilterSet):
    device = filters.UUIDFilter(field_name="device__uuid")
    received_after = filters.IsoDateTimeFilter(field_name="received_at", lookup_expr="gte")
    received_before = filters.IsoDateTimeFilter(field_name="received_at", lookup_expr="lt")

    class Meta:
        model = RejectedMessage
        fields = ["reason", "protocol"]
