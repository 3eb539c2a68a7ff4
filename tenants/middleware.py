"""Finds the tenant of a request, puts the connection into its schema, and checks that the person belongs there.

Which tenant: the path prefix `/t/<slug>/` (moved into the script prefix, so that every link carries it), the host name
of a `Domain`, or for the API the header `X-Tenant`. A token that names its tenant is read later, by
`tenants.api.authentication`. Two that contradict each other are a 404. Fails closed: a slug that is unknown or not
active keeps the request outside of every tenant, and to outsiders looks exactly like a tenant they do not belong to.
"""

import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import get_script_prefix, is_valid_path, set_script_prefix

from iiot_site.lib.errors import TenantBusyError
from iiot_site.lib.turns import turn_of, turns
from tenants.connection import connection
from tenants.principals import Principal
from tenants.selectors import get_active_tenant, get_slug_by_host, load_membership

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenants.models import Membership, Tenant

GetResponse = Callable[[HttpRequest], HttpResponseBase]

TENANT_URLCONF = "iiot_site.urls_tenant"
_PREFIX = re.compile(r"/t/([^/]+)(/.*)?\Z", re.DOTALL)
_API = "/api/"


def enter_tenant(request: HttpRequest, tenant: "Tenant") -> None:
    """Put the request and its connection into the tenant, within the tenant's share; the middleware leaves it again.

    Raises:
        TenantBusyError: the share is used up.
    """
    if turn_of(request) is None:
        request.turn = turns.take(tenant.slug)  # type: ignore[attr-defined]  # what the platform adds to a request
    request.tenant = tenant  # type: ignore[attr-defined]  # what the platform adds to a request
    connection.set_tenant(tenant)


def leave_tenant(request: HttpRequest) -> None:
    """Put the request back outside, so that not even an error page knows the tenant."""
    request.tenant = None  # type: ignore[attr-defined]  # see enter_tenant
    connection.set_schema_to_public()


def answer_busy(request: HttpRequest, error: TenantBusyError) -> HttpResponse:
    """Answer 503 and say when to come again."""
    headers = {"Retry-After": str(error.retry_after_seconds), "Cache-Control": "no-store"}
    response: HttpResponse
    if request.path_info.startswith(_API):
        response = JsonResponse({"code": error.code, "detail": error.detail, "errors": {}}, status=error.http_status, headers=headers)
    else:
        response = HttpResponse(render_to_string("503.html", {"detail": error.detail}), status=error.http_status, headers=headers)
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # by the turns, once in a while
    return response


def _end_turn(request: HttpRequest, response: HttpResponseBase | None) -> None:
    """Give the turn back, if there is one; where the answer is still to be made while it is sent, once that has ended."""
    turn = turn_of(request)
    if turn is None:
        return
    if response is not None and response.streaming:
        response._resource_closers.append(turn.leave)  # type: ignore[attr-defined]  # noqa: SLF001  # as Django does with the request's own files
    else:
        turn.leave()


@contextmanager
def _restored_prefix() -> "Iterator[None]":
    prefix = get_script_prefix()
    try:
        yield
    finally:
        set_script_prefix(prefix)


class TenantMiddleware:
    """Sets `request.tenant` (None outside), `request.tenant_slug` (what was asked for) and the schema."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        connection.set_schema_to_public()
        request.tenant = request.membership = request.principal = request.turn = None  # type: ignore[attr-defined]
        response: HttpResponseBase | None = None
        try:
            with _restored_prefix():
                request.tenant_slug = self._route(request)  # type: ignore[attr-defined]
                if request.tenant_slug is not None and (tenant := get_active_tenant(request.tenant_slug)):  # type: ignore[attr-defined]
                    enter_tenant(request, tenant)
                response = self.get_response(request)
                return response
        except TenantBusyError as error:
            return answer_busy(request, error)
        finally:
            connection.set_schema_to_public()
            _end_turn(request, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer a page that found the tenant's long turns taken; the API answers for itself."""
        return answer_busy(request, exception) if isinstance(exception, TenantBusyError) else None

    def _route(self, request: HttpRequest) -> str | None:
        """Return the slug that the request names, after pointing URLs at the tenant's pages. Raises Http404 on a contradiction."""
        by_path = self._strip_prefix(request)
        by_host = get_slug_by_host(request.get_host().rsplit(":", 1)[0])
        by_header = request.headers.get("X-Tenant") if request.path_info.startswith(_API) else None
        named = {slug for slug in (by_path, by_host, by_header) if slug is not None}
        if len(named) > 1:
            raise Http404
        if by_path is not None or (by_host is not None and self._is_tenant_page(request)):
            request.urlconf = TENANT_URLCONF
        return named.pop() if named else None

    def _strip_prefix(self, request: HttpRequest) -> str | None:
        match = _PREFIX.match(request.path_info)
        if match is None:
            return None
        slug, rest = match[1], match[2] or ""
        prefix = f"{get_script_prefix().rstrip('/')}/t/{slug}"
        request.path_info = rest or "/"
        request.META["SCRIPT_NAME"] = prefix
        request.META["PATH_INFO"] = request.path_info
        set_script_prefix(f"{prefix}/")
        return slug

    @staticmethod
    def _is_tenant_page(request: HttpRequest) -> bool:
        """On a tenant's own host, login and health stay where they are and all else is the tenant's."""
        return bool(is_valid_path(request.path_info, TENANT_URLCONF) or not is_valid_path(request.path_info, settings.ROOT_URLCONF))


class MembershipMiddleware:
    """Lets only members into a tenant's pages and sets `request.membership` and `request.principal` for sessions.

    The API answers for itself (`tenants.api`), because it knows tokens too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(_API):
            return self.get_response(request)
        is_inside = getattr(request, "urlconf", None) == TENANT_URLCONF
        if is_inside and not request.user.is_authenticated:
            return redirect_to_login(request)
        if request.user.is_authenticated:
            set_session_principal(request)
        if is_inside and request.membership is None:  # type: ignore[attr-defined]
            leave_tenant(request)
            raise Http404
        return self.get_response(request)


def set_session_principal(request: HttpRequest) -> "Membership | None":
    """Set membership and principal of a logged-in person in the request's tenant; return the membership."""
    user: Any = request.user
    tenant: Tenant | None = request.tenant  # type: ignore[attr-defined]  # see enter_tenant
    membership = None
    if tenant is not None:
        membership = user.known_memberships[tenant.pk] = load_membership(user_id=user.pk, tenant=tenant)
    request.membership = membership  # type: ignore[attr-defined]
    request.principal = Principal(  # type: ignore[attr-defined]
        kind="user", permissions=membership.permissions if membership else frozenset(), user=user
    )
    return membership


def redirect_to_login(request: HttpRequest, back_to: str | None = None) -> HttpResponse:
    """Send a browser to the login page and back afterwards; htmx gets a header instead of a redirect it would swallow."""
    target = f"{settings.LOGIN_URL}?{urlencode({'next': back_to or request.get_full_path()})}"
    if request.headers.get("HX-Request"):
        return HttpResponse(status=401, headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
