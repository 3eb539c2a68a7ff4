"""Logging in and out with a browser."""

from django.conf import settings
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from iiot_site.demo.demo_file import demo_path
from tenants.errors import LoginFailedError, TooManyAttemptsError
from tenants.login import check_login


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    """Show the form, or log in. Every failure gets the same answer; a success gets a new session id."""
    target = _safe_target(request, request.POST.get("next") or request.GET.get("next") or "")
    if request.method != "POST":
        if request.user.is_authenticated:
            return HttpResponseRedirect(target)
        return _show_form(request, {"next": target})
    email = request.POST.get("email", "").replace("\0", "").strip()
    try:
        user = check_login(request=request, email=email, password=request.POST.get("password", ""), now=timezone.now())
    except (LoginFailedError, TooManyAttemptsError) as error:
        context = {"next": target, "email": email, "error": error.detail}
        return _show_form(request, context, status=error.http_status)
    login(request, user)
    return HttpResponseRedirect(target)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session; its sockets end with their next check of rights."""
    logout(request)
    return HttpResponseRedirect(settings.LOGIN_URL)


def _show_form(request: HttpRequest, context: dict[str, str], status: int = 200) -> HttpResponse:
    return render(request, "web/login.html", {**context, "has_demo": demo_path().exists()}, status=status)


def _safe_target(request: HttpRequest, target: str) -> str:
    """Return where to go afterwards, on this host only."""
    is_safe = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return target if is_safe else settings.LOGIN_REDIRECT_URL
