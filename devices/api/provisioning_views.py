"""Devices that register themselves, and the keys that let them."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from devices.api.credential_views import answer_with_secret, describe_issued
from devices.api.serializers import IssuedCredentialSerializer
from devices.credential_formats import parse_provisioning_key
from devices.errors import ProvisioningKeyInvalidError
from devices.models import DeviceType, ProvisioningKey, Site, validate_key
from devices.provisioning_services import issue_provisioning_key, provision_device, revoke_provisioning_key
from devices.request_limits import check_provisioning_limit
from iiot_site.lib.routers import UUID_PATTERN
from iiot_site.lib.serializers import NamedRef, StrictModelSerializer, StrictSerializer
from tenants.api.authentication import bind_tenant
from tenants.errors import TooManyAttemptsError
from tenants.selectors import get_active_tenant

BATCH_EXAMPLE = {"name": "Batch 7", "device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1", "max_uses": 500}


class ProvisionSerializer(StrictSerializer):
    key = serializers.CharField(max_length=200, help_text="The provisioning key.")
    device = serializers.CharField(validators=[validate_key], help_text="The device's own key: 1 to 64 letters, digits, _ and -.")
    name = serializers.CharField(max_length=120, required=False, default="", help_text="Left out: the device's key.")


class ProvisionedSerializer(serializers.Serializer[Any]):
    """The device and what it proves itself with from now on."""

    id = serializers.UUIDField()
    device = serializers.CharField()
    topic = serializers.CharField(help_text="Where it publishes over MQTT.")
    credentials = IssuedCredentialSerializer(many=True)


class ProvisioningKeySerializer(StrictModelSerializer):
    device_type = NamedRef(queryset=DeviceType.objects.all())
    site = NamedRef(queryset=Site.objects.all(), id_field="id", allow_null=True, required=False)
    secret = serializers.CharField(read_only=True, help_text="The key, in the answer to its creation only.")

    class Meta:
        model = ProvisioningKey
        fields = [
            "id",
            "name",
            "device_type",
            "site",
            "prefix",
            "max_uses",
            "use_count",
            "created_at",
            "expires_at",
            "revoked_at",
            "secret",
        ]
        read_only_fields = ["prefix", "use_count", "created_at", "revoked_at"]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return shown if hasattr(instance, "secret") else {name: value for name, value in shown.items() if name != "secret"}


class ProvisionView(APIView):
    """For devices: nobody is logged in, the provisioning key says which tenant."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        request=ProvisionSerializer,
        responses={201: ProvisionedSerializer},
        auth=[],
        parameters=[
            OpenApiParameter(
                "Idempotency-Key", str, OpenApiParameter.HEADER, description="Random; the same within 10 minutes: new credentials."
            )
        ],
        examples=[OpenApiExample("A new pump", {"key": "iiot_prov_acme.…", "device": "pump-99", "name": "Pump 99"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Register a device and return its credentials, this once."""
        serializer = ProvisionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        sent = serializer.validated_data
        parts = parse_provisioning_key(sent["key"])
        try:
            check_provisioning_limit(request._request, prefix=parts.prefix if parts else "")  # noqa: SLF001  # see bind_tenant
        except TooManyAttemptsError as exc:
            content = {"code": exc.code, "detail": exc.detail, "errors": {}}
            return Response(content, status=exc.http_status, headers={"Retry-After": str(exc.retry_after_seconds)})
        tenant = get_active_tenant(parts.tenant) if parts else None
        if tenant is None:
            raise ProvisioningKeyInvalidError("The provisioning key is not valid.")
        bind_tenant(request, tenant)
        attempt = request.headers.get("Idempotency-Key", "")[:200]
        done = provision_device(key_text=sent["key"], device_key=sent["device"], name=sent["name"], attempt=attempt, now=timezone.now())
        answer = {
            "id": done.device.uuid,
            "device": done.device.key,
            "topic": f"t/{tenant.slug}/{done.device.key}/telemetry",
            "credentials": [],
        }
        shown = ProvisionedSerializer(answer).data
        return answer_with_secret({**shown, "credentials": [describe_issued(request, done.device, issued) for issued in done.credentials]})


class ProvisioningKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[ProvisioningKey]):
    """Keys with which devices of a type register themselves."""

    permission_resource = "credential"
    queryset = ProvisioningKey.objects.select_related("device_type", "site")
    serializer_class = ProvisioningKeySerializer
    lookup_url_kwarg = "id"
    lookup_value_regex = UUID_PATTERN
    ordering_fields = ["name", "created_at", "expires_at"]
    search_fields = ["name", "prefix"]

    @extend_schema(
        responses={201: ProvisioningKeySerializer},
        examples=[
            OpenApiExample(
                "A batch of 500",
                {"name": "Batch 7", "device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1", "max_uses": 500},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Make a key. It is in this answer only."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key = ProvisioningKey(**serializer.validated_data)
        key.secret = issue_provisioning_key(key=key, now=timezone.now())  # type: ignore[attr-defined]  # shown, not stored
        return answer_with_secret(self.get_serializer(key).data)

    def destroy(self, request: Request, id: str) -> Response:
        """Revoke a key; devices that registered with it stay."""
        revoke_provisioning_key(key=self.get_object(), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
