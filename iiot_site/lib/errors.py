"""The one root of every error that the platform raises on purpose.

Each app subclasses `IIoTError` in its `errors.py`; `iiot_site.lib.exception_handler` turns them into the API's
`{"code", "detail", "errors"}`.
"""

from collections.abc import Mapping


class IIoTError(Exception):
    """An expected failure. `code` is for programs, `detail` tells a person what to change."""

    code = "error"
    http_status = 400

    def __init__(self, detail: str, *, errors: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = dict(errors or {})


class NotFoundError(IIoTError):
    """Unknown, or not the caller's: both look the same from outside."""

    code = "not_found"
    http_status = 404


class TenantBusyError(IIoTError):
    """One tenant takes more of the platform than its share, or its tables are locked; nothing of the request was done."""

    code = "unavailable"
    http_status = 503
    retry_after_seconds = 3


class ConflictError(IIoTError):
    """The request is well formed but does not fit the state of what it names."""

    code = "conflict"
    http_status = 409
