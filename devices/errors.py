"""What can go wrong with devices on purpose."""

from iiot_site.lib.errors import ConflictError, IIoTError


class SiteCycleError(IIoTError):
    """A site would stand inside itself."""

    code = "site_cycle"


class GatewayCycleError(IIoTError):
    """A device would be connected via itself."""

    code = "gateway_cycle"


class TooManyCredentialsError(ConflictError):
    """The device has as many valid credentials of this kind as it may."""

    code = "too_many_credentials"


class StillInUseError(ConflictError):
    """Something else refers to what should be deleted."""

    code = "still_in_use"
