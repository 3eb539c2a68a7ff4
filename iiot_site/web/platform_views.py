"""Pages for administrators of the platform, outside of every tenant."""

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from iiot_site.lib.page_parts import render_part
from iiot_site.web.listener_views import Ledgers, make_rows
from protocols.models import ListenerState


@login_required
@require_GET
def show_platform_listeners(request: HttpRequest) -> HttpResponse:
    """Every listener with what all tenants send through it; an htmx request gets the list alone. 404 to everybody else."""
    if not getattr(request.user, "is_platform_admin", False):
        raise Http404
    rows = make_rows(list(ListenerState.objects.order_by("name", "number")), Ledgers([], []), timezone.now())
    context = {"rows": rows, "sees_traffic": False, "backlog": None, "sees_totals": True, "failing": []}
    return render_part(request, whole="web/platform_listeners.html", part="web/_listeners.html", context=context)
