"""The one admin site: a tenant's models inside that tenant, the platform's outside of every tenant."""

import re
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.conf import settings
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

from tenants.middleware import redirect_to_login

# What stands in no list comes after it, by its name.
APP_ORDER = ("devices", "connections", "rules", "alerting", "telemetry", "tenants", "protocols", "django_celery_beat")
MODEL_ORDER = (
    *("Device", "DeviceType", "Metric", "Site"),
    *("Rule", "RuleState", "Incident", "Alert"),
    *("Tenant", "User", "Membership", "Role", "ApiKey", "Domain", "TokenFamily"),
    *("ListenerState", "OutageGap", "PeriodicTask"),
)
_STYLE = re.compile(r"<style(?=[\s>])")


def _place(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _obey_content_security_policy(request: HttpRequest, response: HttpResponse) -> None:
    """Make the theme's page fit our policy, which allows neither inline styles without a nonce nor evaluating strings.

    Its style elements get the nonce (what comes from data is escaped, so a literal `<style` was written in a template),
    and Alpine is replaced by its CSP build, for which static/js/admin.js prepares the ground.
    """
    nonce = str(request.csp_nonce)  # type: ignore[attr-defined]  # set by CSPMiddleware
    page = _STYLE.sub(f'<style nonce="{nonce}"', response.content.decode())
    response.content = page.replace(static("unfold/js/alpine/alpine.js"), static("npm/@alpinejs/csp/dist/cdn.min.js")).encode()


class PlatformAdminSite(UnfoldAdminSite):
    """Members inside a tenant, platform admins outside; nothing to see for others. Login is the platform's own page."""

    index_title = "Administration"  # a site is a place of the plant here

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not user.is_authenticated or not user.is_active:
            return False
        if request.tenant is not None:  # type: ignore[attr-defined]  # set by tenants.middleware
            return request.membership is not None  # type: ignore[attr-defined]
        return bool(getattr(user, "is_platform_admin", False))

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        guarded = super().admin_view(view, cacheable)

        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not request.user.is_authenticated:
                return redirect_to_login(request)
            if not self.has_permission(request):
                raise Http404
            response = guarded(request, *args, **kwargs)
            if isinstance(response, TemplateResponse):
                response.add_post_render_callback(lambda rendered: _obey_content_security_policy(request, rendered))
            return response

        return update_wrapper(answer, view)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return what is worked with most first, not what comes first in the alphabet."""
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda model: _place(MODEL_ORDER, model["object_name"]))
        return sorted(apps, key=lambda app: _place(APP_ORDER, app["app_label"]))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        index = reverse("admin:index", current_app=self.name)
        if self.has_permission(request):
            return HttpResponseRedirect(index)
        return redirect_to_login(request, index)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        logout(request)
        return HttpResponseRedirect(settings.LOGOUT_REDIRECT_URL)
