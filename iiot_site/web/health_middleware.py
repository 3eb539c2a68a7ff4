"""Answers `/health…` at the root before anything asks the database: when that is down, health must still say so."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from iiot_site.health import describe_health


class HealthMiddleware:
    """First in line. Only GET and HEAD; the answers are never cached."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info.rstrip("/")
        if path not in {"/health", "/health/ready", "/health/live"}:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        is_well, described = (True, {"status": "ok"}) if path == "/health/live" else describe_health()
        return JsonResponse(described, status=200 if is_well else 503, headers={"Cache-Control": "no-store"})
