"""Why a connection is not taken."""

from iiot_site.lib.errors import IIoTError


class TooManyConnectionsError(IIoTError):
    """More than a tenant, or a register map, may have."""

    code = "too_many_connections"
    http_status = 409
