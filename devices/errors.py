"""What can go wrong with devices on purpose."""

from iiot_site.lib.errors import ConflictError, IIoTError, NotFoundError


class TooManyCredentialsError(ConflictError):
    """The device has as many valid credentials of this kind as it may."""

    code = "too_many_credentials"


class StillInUseError(ConflictError):
    """Something else refers to what should be deleted."""

    code = "still_in_use"


class TooManyMetricsError(ConflictError):
    """The tenant has as many metrics as it may."""

    code = "too_many_metrics"


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


class ProvisioningKeyInvalidError(IIoTError):
    """No such provisioning key, or it is used up, expired or revoked."""

    code = "provisioning_key_invalid"
    http_status = 401


class DeviceTakenError(ConflictError):
    """A device of this key is registered already."""

    code = "device_taken"


class ProvisioningRefusedError(ConflictError):
    """The device was pre-registered in a way that the provisioning key does not fit."""

    code = "provisioning_refused"


class ImportRefusedError(IIoTError):
    """A file of devices that cannot be read, or has rows with errors; `errors` names line and column."""

    code = "import_refused"


class ClaimRefusedError(ConflictError):
    """A label's code that is wrong or has been used."""

    code = "claim_refused"


class CommandRefusedError(IIoTError):
    """A command that the device's type does not accept."""

    code = "command_refused"


class CommandConflictError(ConflictError):
    """The device is switched off, or has as many open commands as it may."""

    code = "command_conflict"


class UnreachableDeviceError(ConflictError):
    """Nothing carries this to the device: it is only read."""

    code = "device_unreachable"


class IllegalCommandEventError(ConflictError):
    """The command is not in a state in which this can happen to it."""

    code = "illegal_command_event"


class UnknownCommandError(NotFoundError):
    """The device has no such command."""

    code = "unknown_command"


class StateRefusedError(IIoTError):
    """A desired or reported state that cannot be kept."""

    code = "state_refused"


class StateVersionError(ConflictError):
    """Somebody else changed the desired state in between; look at it and try again."""

    code = "version_conflict"


class StatePreconditionError(StateVersionError):
    """The same, where the version stood in `If-Match`."""

    http_status = 412
