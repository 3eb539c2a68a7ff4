"""Answers of last resort: JSON below /api/, a page elsewhere."""

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults

_API = "/api/"


def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404."""
    if request.path_info.startswith(_API):
        return JsonResponse({"code": "not_found", "detail": "Not found.", "errors": {}}, status=404)
    return defaults.page_not_found(request, exception)


def show_server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500 without a word about why; the log has it."""
    if request.path_info.startswith(_API):
        detail = "Something went wrong on our side. It is in the log."
        return JsonResponse({"code": "server_error", "detail": detail, "errors": {}}, status=500)
    return defaults.server_error(request)
