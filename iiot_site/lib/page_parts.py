"""Pages of which htmx reads a part again."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers


def render_part(request: HttpRequest, *, whole: str, part: str, context: Mapping[str, object]) -> HttpResponse:
    """Answer an htmx request with the template `part`, any other with `whole`; caches keep the two apart."""
    response = render(request, part if getattr(request, "htmx", False) else whole, dict(context))
    patch_vary_headers(response, ["HX-Request"])
    return response
