"""Answers of last resort: JSON below /api/, a page elsewhere."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults

from iiot_site.lib.turns import turn_of

_API = "/api/"


def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404."""
    if request.path_info.startswith(_API):
        return JsonResponse({"code": "not_found", "detail": "Not found.", "errors": {}}, status=404)
    return defaults.page_not_found(request, exception)


def show_server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500 without a word about why; the log has it. 503 where the database gave no answer, also before any view was asked."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        if (turn := turn_of(request)) is not None:
            turn.note_error(error)
        detail = "The database is away or busy; try again."
        if request.path_info.startswith(_API):
            return JsonResponse({"code": "unavailable", "detail": detail, "errors": {}}, status=503)
        response = defaults.server_error(request)
        response.status_code = 503
        return response
    if request.path_info.startswith(_API):
        detail = "Something went wrong on our side. It is in the log."
        return JsonResponse({"code": "server_error", "detail": detail, "errors": {}}, status=500)
    return defaults.server_error(request)
