"""Issuing, rotating and revoking the credentials of a device."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devices import services
from devices.api.serializers import CredentialSerializer, IssuedCredentialSerializer, NewCredentialSerializer, RotationSerializer
from devices.connecting import list_examples
from devices.models import Device, DeviceCredential
from devices.types import IssuedCredential
from iiot_site.lib.routers import UUID_PATTERN

NEW_EXAMPLES = [
    OpenApiExample("A token that ends", {"kind": "token", "expires_at": "2027-11-21T00:00:00Z"}, request_only=True),
    OpenApiExample("A certificate", {"kind": "x509", "certificate": "-----BEGIN CERTIFICATE-----\n…"}, request_only=True),
]
ROTATION_EXAMPLE = OpenApiExample("Both work for two days", {"overlap_hours": 48}, request_only=True)


def describe_issued(request: Any, device: Device, issued: IssuedCredential) -> dict[str, Any]:
    """Return the answer that shows a secret, this once, with commands that use it."""
    base_url = request.build_absolute_uri("/").rstrip("/")
    examples = list_examples(device=device, issued=issued, base_url=base_url)
    answer = {
        **asdict(issued),
        "oscore": issued.oscore or None,
        "device_url": f"{base_url}/t/{request.tenant.slug}/devices/{device.uuid}",
        "examples": [asdict(example) for example in examples],
    }
    return dict(IssuedCredentialSerializer(answer).data)


def answer_with_secret(content: Any) -> Response:
    """Answer 201 with something that nothing on the way may keep."""
    return Response(content, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class CredentialViewSet(mixins.ListModelMixin, GenericViewSet[DeviceCredential]):
    """How a device proves who it is."""

    permission_resource = "credential"
    queryset = DeviceCredential.objects.select_related("device__device_type")
    serializer_class = CredentialSerializer
    lookup_url_kwarg = "cid"
    lookup_value_regex = UUID_PATTERN
    filterset_fields = ["kind"]
    ordering_fields = ["created_at", "expires_at", "last_used_at"]
    search_fields = ["identifier"]

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": timezone.now()}

    def get_queryset(self) -> QuerySet[DeviceCredential]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return super().get_queryset().filter(device=self._device())

    def _device(self) -> Device:
        return get_object_or_404(Device.objects.select_related("device_type"), uuid=self.kwargs["id"])

    @extend_schema(request=NewCredentialSerializer, responses={201: IssuedCredentialSerializer}, examples=NEW_EXAMPLES)
    def create(self, request: Request, id: str) -> Response:
        """Issue a credential. The secret is in this answer only; a new password replaces the old one at once."""
        serializer = NewCredentialSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        device = self._device()
        issued = services.issue_credential(device=device, now=timezone.now(), **serializer.validated_data)
        return answer_with_secret(describe_issued(request, device, issued))

    @extend_schema(request=RotationSerializer, responses={201: IssuedCredentialSerializer}, examples=[ROTATION_EXAMPLE])
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, id: str, cid: str) -> Response:
        """Issue a successor; the old one works on for the overlap. A new password may come with another user name."""
        serializer = RotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        chosen, credential, now = serializer.validated_data, self.get_object(), timezone.now()
        expires_at = chosen["expires_at"] if "expires_at" in chosen else services.successor_expiry(credential, now=now)
        issued = services.rotate_credential(
            credential=credential,
            now=now,
            overlap=timedelta(hours=chosen["overlap_hours"]),
            expires_at=expires_at,
            certificate=chosen["certificate"],
        )
        return answer_with_secret(describe_issued(request, credential.device, issued))

    def destroy(self, request: Request, id: str, cid: str) -> Response:
        """Revoke a credential; the device is refused within seconds."""
        services.revoke_credential(credential=self.get_object(), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
