"""Turns every API error into `{"code", "detail", "errors"}`."""

import logging
from typing import Any

import psycopg.errors
import redis
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import exception_handler as drf_exception_handler

from iiot_site.lib.errors import IIoTError, TenantBusyError
from iiot_site.lib.turns import turn_of

logger = logging.getLogger(__name__)


def handle_api_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer `exc`; None leaves it to Django (a 500). Headers such as WWW-Authenticate and Retry-After stay."""
    if isinstance(exc, IIoTError):
        answer = Response({"code": exc.code, "detail": exc.detail, "errors": exc.errors}, status=exc.http_status)
        if isinstance(exc, TenantBusyError):
            answer["Retry-After"] = str(exc.retry_after_seconds)
            answer._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # by the turns, once in a while
        return answer
    if isinstance(exc, redis.RedisError):  # what can do without it has caught this
        return _unavailable("Redis is away; try again in a minute.")
    if isinstance(exc, OperationalError | InterfaceError):
        logger.warning("the database gave no answer: %s", exc)
        if (turn := turn_of(context.get("request"))) is not None:
            turn.note_error(exc)
        is_too_slow = isinstance(exc.__cause__, psycopg.errors.QueryCanceled)
        return _unavailable("This takes too long; ask for less at once." if is_too_slow else "The database is away or busy; try again.")
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, DjangoValidationError):
        exc = exceptions.ValidationError(as_serializer_error(exc))
    return _answer(exc, context)


def _unavailable(detail: str) -> Response:
    return Response({"code": "unavailable", "detail": detail, "errors": {}}, status=503)


def _answer(exc: Exception, context: dict[str, Any]) -> Response | None:
    response = drf_exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        errors = exc.detail if isinstance(exc.detail, dict) else {"non_field_errors": exc.detail}
        response.data = {"code": "invalid", "detail": "Some fields need a correction; see errors.", "errors": errors}
    else:
        code = exc.detail.code if isinstance(exc.detail, exceptions.ErrorDetail) else exc.default_code
        detail = exc.detail if isinstance(exc.detail, str) else exc.default_detail
        if isinstance(exc, exceptions.UnsupportedMediaType):
            detail = f"{detail} {_accepted_types(context)}"
        response.data = {"code": code, "detail": str(detail), "errors": {}}
    return response


def _accepted_types(context: dict[str, Any]) -> str:
    parsers = getattr(context.get("view"), "parser_classes", ())
    return f"Send Content-Type: {' or '.join(parser.media_type for parser in parsers)}."
