"""CRUD of sites, device types, metrics and devices."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError, transaction
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, as_serializer_error
from rest_framework.settings import api_settings
from rest_framework.viewsets import ModelViewSet

from devices import services
from devices.api.filters import DeviceFilter, MetricFilter, SiteFilter
from devices.api.serializers import (
    DeviceSerializer,
    DeviceTypeSerializer,
    MetricSerializer,
    SiteSerializer,
)
from devices.detection_services import reset_detection
from devices.models import Device, DeviceType, Metric, Site
from iiot_site.lib.errors import ConflictError
from iiot_site.lib.routers import UUID_PATTERN
from iiot_site.lib.schemas import lock_in_schema


def example(name: str, value: dict[str, Any]) -> Any:
    """Put a request's example into the OpenAPI schema."""
    return extend_schema(examples=[OpenApiExample(name, value, request_only=True)])


class PlantViewSet(ModelViewSet[Any]):
    """Changes go through `save` and `perform_destroy`, which call the app's services; the last word on a race is a 409."""

    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_regex = UUID_PATTERN
    # What the service locks before rows; taken here first, so that everybody locks in that order.
    lock_name = ""

    def save(self, instance: Any) -> None:
        """Write an instance through the app's service."""
        raise NotImplementedError

    def perform_create(self, serializer: BaseSerializer[Any]) -> None:
        self._save(serializer, serializer.Meta.model())  # type: ignore[attr-defined]  # all of ours are ModelSerializers

    def perform_update(self, serializer: BaseSerializer[Any]) -> None:
        self._save(serializer, serializer.instance)

    def _save(self, serializer: BaseSerializer[Any], instance: Any) -> None:
        try:
            with transaction.atomic():
                instance = self._reload(instance)
                for name, value in serializer.validated_data.items():
                    setattr(instance, name, value)
                self.save(instance)
        except DjangoValidationError as exc:
            raise ValidationError(_name_as_in_api(serializer, as_serializer_error(exc))) from exc
        except IntegrityError as exc:
            raise ConflictError("Somebody else just made a change that does not go with this one. Look and try again.") from exc
        serializer.instance = instance

    def _reload(self, instance: Any) -> Any:
        """Return a stored instance as it is now, locked: what the request does not name keeps what others just wrote."""
        if self.lock_name:
            lock_in_schema(self.lock_name)
        if instance._state.adding:  # noqa: SLF001  # Django's documented way to ask
            return instance
        return get_object_or_404(self.get_queryset().select_for_update(of=("self",), no_key=True), pk=instance.pk)


def _name_as_in_api(serializer: Any, errors: dict[str, Any]) -> dict[str, Any]:
    """Name the model's fields as the serializer does, which calls some of them differently."""
    names = {field.source: name for name, field in serializer.fields.items()} | {NON_FIELD_ERRORS: api_settings.NON_FIELD_ERRORS_KEY}
    return {names.get(field, field): details for field, details in errors.items()}


@extend_schema_view(create=example("A site", {"name": "Hall 2", "kind": "area", "parent": None, "timezone": "Europe/Berlin"}))
class SiteViewSet(PlantViewSet):
    """The plant tree."""

    permission_resource = "site"
    queryset = Site.objects.select_related("parent")
    serializer_class = SiteSerializer
    filterset_class = SiteFilter
    lookup_field = "pk"
    search_fields = ["name"]
    ordering_fields = ["name", "kind"]
    lock_name = services.SITES_LOCK

    def save(self, instance: Site) -> None:
        services.save_site(site=instance)

    def perform_destroy(self, instance: Site) -> None:
        services.delete_site(site=instance)


@extend_schema_view(
    create=example("A device type", {"name": "Pump", "protocol": "mqtt", "codec": "auto", "inactivity_timeout_seconds": 300})
)
class DeviceTypeViewSet(PlantViewSet):
    """What devices of one kind have in common."""

    permission_resource = "device_type"
    queryset = DeviceType.objects.all()
    serializer_class = DeviceTypeSerializer
    filterset_fields = ["protocol", "codec", "unknown_metrics"]
    search_fields = ["name"]
    ordering_fields = ["name"]

    def save(self, instance: DeviceType) -> None:
        services.save_device_type(device_type=instance)

    def perform_destroy(self, instance: DeviceType) -> None:
        services.delete_device_type(device_type=instance)


@extend_schema_view(
    create=example(
        "A metric",
        {"device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1", "key": "temperature", "unit": "°C", "data_type": "number", "maximum": 120},
    )
)
class MetricViewSet(PlantViewSet):
    """The quantities that devices of a type report."""

    permission_resource = "metric"
    queryset = Metric.objects.select_related("device_type").order_by("device_type__name", "key")
    serializer_class = MetricSerializer
    filterset_class = MetricFilter
    search_fields = ["key", "name"]
    ordering_fields = ["key", "name"]

    def save(self, instance: Metric) -> None:
        services.save_metric(metric=instance)

    def perform_destroy(self, instance: Metric) -> None:
        services.delete_metric(metric=instance)


@extend_schema_view(
    create=example(
        "A device",
        {"key": "pump-7", "name": "Feed pump 7", "device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1", "tags": ["critical"]},
    )
)
class DeviceViewSet(PlantViewSet):
    """Machines, sensors and gateways."""

    permission_resource = "device"
    queryset = Device.objects.select_related("device_type", "site", "gateway")
    serializer_class = DeviceSerializer
    filterset_class = DeviceFilter
    search_fields = ["name", "key", "firmware", "site__name", "device_type__name"]
    ordering_fields = ["name", "key", "last_seen_at", "created_at"]
    lock_name = services.GATEWAYS_LOCK

    def save(self, instance: Device) -> None:
        instance.name = instance.name or instance.key
        services.save_device(device=instance)

    def perform_destroy(self, instance: Device) -> None:
        services.delete_device(device=instance)

    @extend_schema(request=None, responses=DeviceSerializer)
    @action(detail=True, methods=["post"], url_path="reset-detection", url_name="reset-detection")
    def reset_detection(self, request: Request, id: str) -> Response:
        """Forget the detected protocol and codec: the device's next valid message says them anew."""
        device = self.get_object()
        reset_detection(device=device)
        return Response(self.get_serializer(device).data)
