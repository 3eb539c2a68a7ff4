"""Why a plant's OPC UA server is not read, or not browsed, in words for those who set it up."""

from iiot_site.lib.errors import IIoTError


class OpcUaError(IIoTError):
    """Something between us and the server."""

    code = "opcua_error"
    http_status = 502


class UnreachableError(OpcUaError):
    """No connection, or no answer in time."""

    code = "opcua_unreachable"


class EndpointMissingError(OpcUaError):
    """The server does not offer the chosen security."""

    code = "opcua_no_such_endpoint"
    http_status = 409


class CertificateNotTrustedError(OpcUaError):
    """The server shows a certificate that nobody has accepted; `certificate` is what it shows (DER)."""

    code = "opcua_certificate_not_trusted"
    http_status = 409

    def __init__(self, detail: str, *, certificate: bytes) -> None:
        super().__init__(detail)
        self.certificate = certificate


class LostError(OpcUaError):
    """The connection or the subscription ended; it is made again."""

    code = "opcua_lost"
