"""Where a person goes after logging in, outside of every tenant."""

from typing import cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET

from tenants.models import Tenant, User
from tenants.selectors import list_memberships


@login_required
@require_GET
def pick_tenant(request: HttpRequest) -> HttpResponse:
    """Offer the person's tenants; straight on where there is only one. Platform admins also see how tenants come up."""
    user = cast("User", request.user)
    memberships = list_memberships(user)
    if len(memberships) == 1 and not user.is_platform_admin:
        return HttpResponseRedirect(f"/t/{memberships[0].tenant.slug}/")
    tenants = list(Tenant.objects.order_by("name")) if user.is_platform_admin else []
    context = {
        "memberships": memberships,
        "all_tenants": tenants,
        "is_creating": any(tenant.status == Tenant.Status.CREATING for tenant in tenants),
    }
    return render(request, "web/pick_tenant.html", context)
