"""What can go wrong with devices on purpose."""

from iiot_site.lib.errors import ConflictError


class TooManyCredentialsError(ConflictError):
    """The device has as many valid credentials of this kind as it may."""

    code = "too_many_credentials"


class StillInUseError(ConflictError):
    """Something else refers to what should be deleted."""

    code = "still_in_use"
