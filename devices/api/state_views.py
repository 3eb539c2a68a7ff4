"""Desired and reported state: changed by people and programs, fetched and reported by devices that speak HTTP."""

import re
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import state_services
from devices.api.device_view import DeviceView
from devices.errors import StatePreconditionError, StateRefusedError, StateVersionError
from devices.models import DesiredState, DesiredStateChange, Device
from devices.state_merge import find_delta
from iiot_site.lib.parsers import MergePatchParser, StrictJSONParser
from iiot_site.lib.serializers import StrictSerializer

CHANGE_EXAMPLE = OpenApiExample("Report every ten seconds", {"desired": {"interval_s": 10}, "version": 3}, request_only=True)
REPORT_EXAMPLE = OpenApiExample("What the device is set to", {"interval_s": 10, "mode": "eco"}, request_only=True)
IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description='The version that is changed, as the ETag says: `"3"`.')
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,10})"?\Z')


class StateSerializer(serializers.ModelSerializer[DesiredState]):
    """What a device shall be set to, what it says that it is, and the difference."""

    delta = serializers.SerializerMethodField(help_text="What is desired and not reported yet.")
    is_in_sync = serializers.SerializerMethodField(help_text="The device has reported all that is desired.")
    changed_by = serializers.CharField(source="changed_by_name", read_only=True)

    class Meta:
        model = DesiredState
        fields = [
            "desired",
            "version",
            "changed_at",
            "changed_by",
            "reported",
            "reported_version",
            "reported_at",
            "delta",
            "is_in_sync",
            "sent_at",
        ]
        read_only_fields = fields

    def get_delta(self, state: DesiredState) -> dict[str, Any]:
        return find_delta(state.desired, state.reported)

    def get_is_in_sync(self, state: DesiredState) -> bool:
        return not find_delta(state.desired, state.reported)


class StateForDeviceSerializer(serializers.ModelSerializer[DesiredState]):
    """A state as its device gets it."""

    delta = serializers.SerializerMethodField(help_text="What is desired and not reported yet.")

    class Meta:
        model = DesiredState
        fields = ["version", "desired", "delta", "reported"]
        read_only_fields = fields

    def get_delta(self, state: DesiredState) -> dict[str, Any]:
        return find_delta(state.desired, state.reported)


class StateChangeSerializer(serializers.ModelSerializer[DesiredStateChange]):
    """Who changed what is desired, and how."""

    by = serializers.CharField(source="by_name", read_only=True)

    class Meta:
        model = DesiredStateChange
        fields = ["version", "patch", "at", "by"]
        read_only_fields = fields


class NewDesiredSerializer(StrictSerializer):
    desired = serializers.JSONField(help_text="A JSON merge patch (RFC 7396): null removes a setting, lists are replaced whole.")
    version = serializers.IntegerField(required=False, min_value=0, help_text="The version that is changed; another one: 409.")

    def validate_desired(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise serializers.ValidationError('Send an object of settings, such as {"interval_s": 10}.')
        return value


class StateView(APIView):
    """What a device shall be set to."""

    permission_resource = "state"
    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=StateSerializer)
    def get(self, request: Request, id: str) -> Response:
        """Return what is desired, what is reported, and what is in one and not in the other. The ETag is the version."""
        return _answer(state_services.load_state(get_object_or_404(Device, uuid=id)))

    @extend_schema(request=NewDesiredSerializer, responses=StateSerializer, parameters=[IF_MATCH], examples=[CHANGE_EXAMPLE])
    def patch(self, request: Request, id: str) -> Response:
        """Change what is desired. The device is told at once, or when it comes back."""
        device = get_object_or_404(Device.objects.select_related("device_type"), uuid=id)
        serializer = NewDesiredSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = _read_if_match(request)
        principal: Any = request.principal  # type: ignore[attr-defined]  # set by authentication
        try:
            state = state_services.change_desired(
                device=device,
                patch=serializer.validated_data["desired"],
                expected_version=serializer.validated_data.get("version") if wanted is None else wanted,
                user=principal.user,
                author=principal.name[:160],
                now=timezone.now(),
            )
        except StateRefusedError as exc:
            raise StateRefusedError(exc.detail, errors={"desired": [exc.detail]}) from exc
        except StateVersionError as exc:
            if wanted is None:
                raise
            raise StatePreconditionError(exc.detail, errors=exc.errors) from exc
        return _answer(state)


class StateChangesView(ListAPIView[DesiredStateChange]):
    """Who changed what is desired of a device, the newest first."""

    permission_resource = "state"
    queryset = DesiredStateChange.objects.all()
    serializer_class = StateChangeSerializer
    ordering_fields = ["version"]

    def get_queryset(self) -> QuerySet[DesiredStateChange]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return super().get_queryset().filter(device=get_object_or_404(Device, uuid=self.kwargs["id"]))


class OwnStateView(DeviceView):
    """What the device with this token shall be set to, and what it says that it is."""

    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=StateForDeviceSerializer)
    def get(self, request: Request) -> Response:
        """Return what is desired of the device, and what of it the device has not reported yet."""
        device: Any = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        return Response(StateForDeviceSerializer(state_services.tell_own_state(device_id=device.id, now=timezone.now())).data)

    @extend_schema(request=dict[str, Any], responses=StateForDeviceSerializer, examples=[REPORT_EXAMPLE])
    def patch(self, request: Request) -> Response:
        """Report what the device is set to, as a JSON merge patch (RFC 7396)."""
        ref: Any = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        patch: Any = request.data
        state = state_services.record_reported(device=get_object_or_404(Device, pk=ref.id), patch=patch, now=timezone.now())
        return Response(StateForDeviceSerializer(state).data)


def _answer(state: DesiredState) -> Response:
    return Response(StateSerializer(state).data, headers={"ETag": f'"{state.version}"'})


def _read_if_match(request: Request) -> int | None:
    wanted = request.headers.get("If-Match", "*").strip()
    if wanted == "*":
        return None
    match = _ETAG.match(wanted)
    if match is None:
        raise serializers.ValidationError({"If-Match": ['Send the version as the ETag says it, such as "3".']})
    return int(match[1])
