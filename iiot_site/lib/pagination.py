"""Page-number pagination of every list: `results`, `next`, `previous`, `count`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from iiot_site.lib.turns import count_as_long

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHORT_PAGE = 200


class Pages(PageNumberPagination):
    """Pages of 50, or `page_size` up to 1000."""

    page_size_query_param = "page_size"
    max_page_size = 1000

    def paginate_queryset(
        self, queryset: "QuerySet[Any] | Sequence[Any]", request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """Read a page; a large one is a long request."""
        if (self.get_page_size(request) or 0) > SHORT_PAGE:
            count_as_long(request)
        return super().paginate_queryset(queryset, request, view)
