"""`format` is a parameter of the query for history, checked with the others; errors are always JSON."""

from types import SimpleNamespace
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation


class FormatIsAParameter(DefaultContentNegotiation):
    """Chooses the renderer by the Accept header alone."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE=None)
