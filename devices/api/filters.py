"""What the lists can be narrowed by."""

import uuid

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from devices.models import Device, Metric, Site
from devices.selectors import list_site_subtree_ids


class SiteFilter(filters.FilterSet):
    parent = filters.UUIDFilter(field_name="parent_id", help_text="Only what stands directly below this site.")
    is_root = filters.BooleanFilter(field_name="parent", lookup_expr="isnull")

    class Meta:
        model = Site
        fields = ["kind"]


class MetricFilter(filters.FilterSet):
    device_type = filters.UUIDFilter(field_name="device_type__uuid")

    class Meta:
        model = Metric
        fields = ["key", "data_type"]


class DeviceFilter(filters.FilterSet):
    site = filters.UUIDFilter(method="filter_site", help_text="The site and everything below it.")
    device_type = filters.UUIDFilter(field_name="device_type__uuid")
    gateway = filters.UUIDFilter(field_name="gateway__uuid")
    tag = filters.CharFilter(method="filter_tag", help_text="Only devices with this tag.")

    class Meta:
        model = Device
        fields = ["key", "protocol", "is_enabled", "status"]

    def filter_site(self, queryset: QuerySet[Device], name: str, value: uuid.UUID) -> QuerySet[Device]:
        return queryset.filter(site_id__in=list_site_subtree_ids(value))

    def filter_tag(self, queryset: QuerySet[Device], name: str, value: str) -> QuerySet[Device]:
        return queryset.filter(tags__contains=[value])
