"""What devices do over HTTP for themselves, with their token."""

from typing import Any

from django.utils import timezone
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from devices.api.authentication import DeviceTokenAuthentication
from devices.services import record_activity
from iiot_site.lib.clock import put_on_database_clock


class IsDevice(BasePermission):
    """A device that is switched on, for what concerns only itself."""

    def has_permission(self, request: Request, view: Any) -> bool:
        principal: Any = getattr(request, "principal", None)
        if principal is None or principal.kind != "device":
            return False
        if not principal.device.is_enabled:
            raise PermissionDenied("The device is switched off in the platform; enable it there.", code="device_disabled")
        return True


class DeviceView(APIView):
    """Asked by a device, which is heard by that."""

    authentication_classes = (DeviceTokenAuthentication,)
    permission_classes = (IsDevice,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        device: Any = request.principal.device  # type: ignore[attr-defined]  # set by authentication
        record_activity(seen={device.id: put_on_database_clock(timezone.now())}, via="http")
