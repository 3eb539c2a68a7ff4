"""Answers 400 to addresses that no database can hold or compare: a NUL, a year 99999 in a filter, an id that is none.

Forms and serializers check their fields; filters of lists hand what is in the address on to the database. So this stands
once around all of them: what the database refuses as data is, in a GET, the address's fault. Django's admin looks for any
field by any text (`?payload=x`, `/r/1/1/`) and lets what does not fit raise: there that is the address's fault too.
"""

import logging
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.core.exceptions import ValidationError
from django.db import DataError
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults

logger = logging.getLogger(__name__)

_API, _ADMIN = "/api/", "/admin/"
_TELEMETRY = "/api/v1/telemetry"  # what comes there is kept and counted in the ledger, whatever is wrong with it
_ANYWHERE = (DataError, OverflowError)
_IN_ADMIN = (*_ANYWHERE, ValidationError, ValueError, TypeError)
_DETAIL = "The address holds something that cannot be looked for."


class HostileInputMiddleware:
    """Stands inside of the tenant's middleware, around everything that reads the address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        is_reading = request.method == "POST" and request.path_info.rstrip("/") == _TELEMETRY
        if "\0" in request.path_info or (not is_reading and b"\0" in unquote_to_bytes(request.META.get("QUERY_STRING", ""))):
            return _refuse(request, ValueError("a NUL in the address"))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer for what a value in the address caused; all else stays an error of ours."""
        is_admin = request.path_info.startswith(_ADMIN)
        if request.method not in {"GET", "HEAD"} or not isinstance(exception, _IN_ADMIN if is_admin else _ANYWHERE):
            return None
        # In the admin it may be a fault of ours after all: its trace stays in the log.
        logger.warning("refused the address %s: %s", request.path_info, exception, exc_info=exception if is_admin else None)
        return _refuse(request, exception)


def _refuse(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if request.path_info.startswith(_API):
        return JsonResponse({"code": "invalid", "detail": _DETAIL, "errors": {}}, status=400)
    return defaults.bad_request(request, exception)
