"""What goes wrong with tenants, logins and tokens."""

from iiot_site.lib.errors import ConflictError, IIoTError, NotFoundError


class TenantNotFoundError(NotFoundError):
    """No such tenant, or none of the caller's."""


class TenantMissingError(IIoTError):
    """The request does not say which tenant it is about."""

    code = "tenant_missing"


class SlugTakenError(ConflictError):
    """Another tenant has that slug."""

    code = "slug_taken"


class UnknownNameError(IIoTError):
    """A role or permission that does not exist, or not in this tenant."""

    code = "unknown_name"


class TokenInvalidError(IIoTError):
    """A bearer token that is malformed, expired, revoked or not meant for this use."""

    code = "token_invalid"
    http_status = 401


class LoginFailedError(IIoTError):
    """Wrong e-mail address or password; says not which."""

    code = "login_failed"
    http_status = 401


class TooManyAttemptsError(IIoTError):
    """The limit of attempts is used up for `retry_after_seconds`."""

    code = "too_many_attempts"
    http_status = 429

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Too many attempts. Try again in {retry_after_seconds} seconds.")
        self.retry_after_seconds = retry_after_seconds
