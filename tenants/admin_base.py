"""What every admin page shares: who sees it, a count that never takes long, and no history of Django's own.

Django's `LogEntry` lives in the shared schema and knows no tenant, so object 7 of one tenant would show the history of
object 7 of another: nothing is written there (docs/decisions/0003). Who sees a model is decided by
`tenants.backends.TenantPermissionBackend`: models of a tenant inside it, by role; shared ones outside, for platform admins.
"""

from functools import cached_property
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db.models import DurationField
from django.http import Http404, HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

COUNT_LIMIT = 10_000
DURATION_HINT = "As hours:minutes:seconds (00:05:00), or a number of seconds."


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts `COUNT_LIMIT` rows at most: a large table stays quick, and search finds what lies beyond."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_LIMIT].count()) if hasattr(rows, "order_by") else len(rows)


def _fits(model: Any, name: str, value: Any) -> bool:
    try:
        field = model._meta.get_field(name).formfield()  # noqa: SLF001  # Django's own way to a model's fields
        if field is not None:
            field.clean(value)
    except (FieldDoesNotExist, ValidationError, ValueError, TypeError, AttributeError):
        return False
    return True


class _PlatformModelAdmin(ModelAdmin):
    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the address fills in, without what does not fit its field."""
        initial = super().get_changeform_initial_data(request)
        return {name: value for name, value in initial.items() if _fits(self.model, name, value)}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Say how a duration is written: Django reads `90` as seconds and shows 00:01:30."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(db_field, DurationField):
            field.help_text = f"{field.help_text} {DURATION_HINT}".strip()
        return field

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Write nothing; see the module."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Write nothing; see the module."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """Write nothing; see the module."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        raise Http404


class TenantModelAdmin(_PlatformModelAdmin):
    """For models that each tenant has for itself."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if request.tenant is None:  # type: ignore[attr-defined]  # set by tenants.middleware
            raise Http404  # outside there are no tables to look in
        return super().get_object(request, object_id, from_field)


class SharedModelAdmin(_PlatformModelAdmin):
    """For models of the shared schema."""


class ReadOnlyMixin:
    """Nothing to add, change or delete by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
