"""Answers `/metrics` at the root, before anything asks the database: when that is down, the rest must still be told.

From this machine without a login, from elsewhere with `Authorization: Bearer <IIOT_METRICS_TOKEN>`. What each tenant sends
is told to holders of the token only. Everybody else finds nothing.
"""

import ipaddress
from collections.abc import Callable
from secrets import compare_digest
from threading import Condition

from cachetools import TTLCache, cached
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from prometheus_client import CONTENT_TYPE_LATEST

from iiot_site.metrics import render_metrics
from tenants.client_address import client_address

_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")


class MetricsMiddleware:
    """Next to the health checks. Only GET; answers are kept for a second, so that asking costs little."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.rstrip("/") != "/metrics":
            return self.get_response(request)
        has_token = _holds_token(request)
        if not has_token and not _is_local(request):
            return HttpResponse("Not found.\n", status=404, content_type="text/plain")
        if request.method != "GET":
            return HttpResponse(status=405, headers={"Allow": "GET"})
        return HttpResponse(_render(has_token), content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


answers: TTLCache[bool, bytes] = TTLCache(maxsize=2, ttl=1)


@cached(answers, key=bool, condition=Condition())
def _render(with_tenants: bool) -> bytes:
    return render_metrics(with_tenants=with_tenants)


def _holds_token(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    wanted = settings.IIOT_METRICS_TOKEN
    return bool(wanted) and scheme.lower() == "bearer" and compare_digest(given.strip().encode(), wanted.encode())


def _is_local(request: HttpRequest) -> bool:
    """Tell whether the request comes from this machine itself.

    A proxy beside us makes everybody look local: where it says for whom it asks and is not one of ours, nobody is. The host
    name is checked as for every page, so that a web site cannot make a browser here ask under its own name.
    """
    if not settings.IIOT_PROXY_COUNT and any(name in request.headers for name in _FORWARDED):
        return False
    try:
        request.get_host()
        return ipaddress.ip_address(client_address(request)).is_loopback
    except (DisallowedHost, ValueError):
        return False
