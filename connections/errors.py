"""Why a connection is not taken."""

from iiot_site.lib.errors import IIoTError


class TooManyConnectionsError(IIoTError):
    """More than a tenant, or a register map, may have."""

    code = "too_many_connections"
    http_status = 409


class CertificateChangedError(IIoTError):
    """What was to be accepted is not what the server shows."""

    code = "certificate_changed"
    http_status = 409
