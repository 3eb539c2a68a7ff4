"""Page-number pagination of every list: `results`, `next`, `previous`, `count`."""

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """Pages of 50, or `page_size` up to 1000."""

    page_size_query_param = "page_size"
    max_page_size = 1000
