"""Commands: sent by people and programs, fetched and answered by devices that speak HTTP."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devices import command_services
from devices.api.device_view import DeviceView
from devices.command_schema import NAME_PATTERN
from devices.models import Command, Device
from devices.types import CommandRef
from iiot_site.lib.routers import UUID_PATTERN
from iiot_site.lib.schemas import current_schema
from iiot_site.lib.serializers import SecondsField, StrictSerializer

NEW_EXAMPLE = OpenApiExample(
    "Set a pump's speed", {"name": "set_speed", "payload": {"rpm": 1450}, "expires_in_seconds": 3600}, request_only=True
)
RESPONSE_EXAMPLE = OpenApiExample("Done", {"status": "ok", "data": {"rpm": 1448}}, request_only=True)
# Of an answer without commands: whose may be waited for. `iiot_site.long_poll` reads it and takes it away.
WAITING_HEADER = "X-IIoT-Waits-For"
WAIT = OpenApiParameter("wait", int, description="Seconds for which to wait until there is a command, 60 at most.")
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="At most 80 characters. The same key again queues nothing more."
)


class CommandSerializer(serializers.ModelSerializer[Command]):
    """A command with what became of it."""

    created_by = serializers.CharField(source="created_by_name", read_only=True)

    class Meta:
        model = Command
        fields = [
            "id",
            "name",
            "payload",
            "state",
            "created_by",
            "created_at",
            "sent_at",
            "finished_at",
            "expires_at",
            "attempts",
            "response",
            "error",
        ]
        read_only_fields = fields


class NewCommandSerializer(StrictSerializer):
    name = serializers.RegexField(rf"^{NAME_PATTERN}\Z")
    payload = serializers.JSONField(required=False, default=None, allow_null=True)
    expires_in_seconds = SecondsField(required=False, help_text="At most 30 days; default one.")


class CommandForDeviceSerializer(serializers.Serializer[CommandRef]):
    """A command as its device gets it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    payload = serializers.JSONField(allow_null=True)
    expires_at = serializers.DateTimeField()
    attempt = serializers.IntegerField(help_text="Counts from 1; the id stays the same.")


class CommandListSerializer(serializers.Serializer[Any]):
    commands = CommandForDeviceSerializer(many=True)


class NewResponseSerializer(StrictSerializer):
    status = serializers.ChoiceField(choices=["ok", "failed"])
    data = serializers.JSONField(  # type: ignore[assignment]  # a field of this name; DRF keeps it apart from the attribute
        required=False, default=None, allow_null=True
    )
    error = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)


class CommandViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Command]):
    """What a device was told to do."""

    permission_resource = "command"
    queryset = Command.objects.all()
    serializer_class = CommandSerializer
    lookup_url_kwarg = "cid"
    lookup_value_regex = UUID_PATTERN
    filterset_fields = ["state", "name"]
    ordering_fields = ["created_at"]
    search_fields = ["name"]

    def get_queryset(self) -> QuerySet[Command]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return super().get_queryset().filter(device=self._device())

    def _device(self) -> Device:
        return get_object_or_404(Device, uuid=self.kwargs["id"])

    @extend_schema(request=NewCommandSerializer, responses={201: CommandSerializer}, parameters=[KEY_HEADER], examples=[NEW_EXAMPLE])
    def create(self, request: Request, id: str) -> Response:
        """Queue a command. It is sent at once, or when the device comes back, until it is answered or expires."""
        serializer = NewCommandSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 80 or not key.isprintable():
            raise serializers.ValidationError({"Idempotency-Key": ["Use at most 80 printable characters."]})
        principal: Any = request.principal  # type: ignore[attr-defined]  # set by authentication
        command = command_services.queue_command(
            device=self._device(),
            name=serializer.validated_data["name"],
            payload=serializer.validated_data["payload"],
            lifetime=serializer.validated_data.get("expires_in_seconds", command_services.DEFAULT_LIFETIME),
            user=principal.user,
            author=principal.name[:160],
            idempotency_key=key,
            now=timezone.now(),
        )
        return Response(CommandSerializer(command).data, status=status.HTTP_201_CREATED)


class OwnCommandsView(DeviceView):
    """What the device with this token shall do."""

    @extend_schema(responses=CommandListSerializer, parameters=[WAIT])
    def get(self, request: Request) -> Response:
        """Return the commands that wait for an answer, the oldest first; each comes again until it is answered or expires."""
        device: Any = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        commands = command_services.claim_commands_of_device(device_id=device.id, now=timezone.now())
        headers = {} if commands or "wait" not in request.query_params else {WAITING_HEADER: f"{current_schema()} {device.key}"}
        return Response(CommandListSerializer({"commands": commands}).data, headers=headers)


class OwnResponseView(DeviceView):
    """What became of a command, as the device says."""

    @extend_schema(request=NewResponseSerializer, responses=CommandSerializer, examples=[RESPONSE_EXAMPLE])
    def post(self, request: Request, cid: str) -> Response:
        """Answer a command. The same answer again changes nothing."""
        device: Any = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        serializer = NewResponseSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        answer = serializer.validated_data
        command = command_services.record_response(
            device_key=device.key,
            command_id=UUID(cid),
            is_done=answer["status"] == "ok",
            data=answer["data"],
            error=answer["error"],
            now=timezone.now(),
        )
        return Response(CommandSerializer(command).data)
