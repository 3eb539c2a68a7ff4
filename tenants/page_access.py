"""Who may open a page: members of the request's tenant with the permission that the page names."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from tenants.permissions import allows

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def page(permission: str) -> Callable[[View[P]], View[P]]:
    """Guard a view with `resource:action`: 404 to whoever is no member here, 403 to a member without the permission."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            membership = getattr(request, "membership", None)
            if membership is None:
                raise Http404
            if not allows(membership.permissions, permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded  # type: ignore[return-value]  # functools.wraps names the first argument

    return decorate
