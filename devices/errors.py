"""What can go wrong with devices on purpose."""

from iiot_site.lib.errors import ConflictError, IIoTError


class TooManyCredentialsError(ConflictError):
    """The device has as many valid credentials of this kind as it may."""

    code = "too_many_credentials"


class StillInUseError(ConflictError):
    """Something else refers to what should be deleted."""

    code = "still_in_use"


class RotationRefusedError(ConflictError):
    """The credential has been revoked or rotated already, or the device has no second name free for a new password."""

    code = "rotation_refused"


class CredentialInvalidError(IIoTError):
    """What should be issued contradicts itself, for example an expiry in the past."""

    code = "invalid"


class CertificateRefusedError(IIoTError):
    """A certificate that cannot be read or does not name its device."""

    code = "certificate_refused"


class CertificateTakenError(ConflictError):
    """Another valid credential has this certificate."""

    code = "certificate_taken"
