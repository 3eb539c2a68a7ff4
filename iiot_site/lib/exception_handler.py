"""Turns every API error into `{"code", "detail", "errors"}`."""

from typing import Any

import redis
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import exception_handler as drf_exception_handler

from iiot_site.lib.errors import IIoTError


def handle_api_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer `exc`; None leaves it to Django (a 500). Headers such as WWW-Authenticate and Retry-After stay."""
    if isinstance(exc, IIoTError):
        return Response({"code": exc.code, "detail": exc.detail, "errors": exc.errors}, status=exc.http_status)
    if isinstance(exc, redis.RedisError):  # what can do without it has caught this
        return Response({"code": "unavailable", "detail": "Redis is away; try again in a minute.", "errors": {}}, status=503)
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, DjangoValidationError):
        exc = exceptions.ValidationError(as_serializer_error(exc))
    response = drf_exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        errors = exc.detail if isinstance(exc.detail, dict) else {"non_field_errors": exc.detail}
        response.data = {"code": "invalid", "detail": "Some fields need a correction; see errors.", "errors": errors}
    else:
        code = exc.detail.code if isinstance(exc.detail, exceptions.ErrorDetail) else exc.default_code
        detail = exc.detail if isinstance(exc.detail, str) else exc.default_detail
        response.data = {"code": code, "detail": str(detail), "errors": {}}
    return response
