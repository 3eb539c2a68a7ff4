"""The address a request came from: the socket's, or what a configured number of own proxies say about it."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the client's address. `X-Forwarded-For` counts only as far as our own proxies wrote it (IIOT_PROXY_COUNT)."""
    count = settings.REST_FRAMEWORK["NUM_PROXIES"]
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if count and forwarded:
        return str(forwarded[-min(int(count), len(forwarded))])
    return str(request.META.get("REMOTE_ADDR", ""))
