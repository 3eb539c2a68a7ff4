"""Writes and reads the times of pages, the administration's among them, in the reader's time zone.

The browser tells it in a cookie (static/js/zone.js). Without one, and over the API, times are in UTC.
"""

from collections.abc import Callable
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

COOKIE = "iiot_zone"
_LONGEST_NAME = 64
_API = "/api/"


class ReaderZoneMiddleware:
    """Holds for what is inside of it; templates are rendered there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = "" if request.path_info.startswith(_API) else request.COOKIES.get(COOKIE, "")
        with timezone.override(find_zone(name) if 0 < len(name) <= _LONGEST_NAME else None):
            return self.get_response(request)


@lru_cache(maxsize=128)
def find_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name; None where there is none such."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, or a folder of names
        return None
