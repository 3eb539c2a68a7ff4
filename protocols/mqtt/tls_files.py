"""The certificates of the TLS door: its own, and those that sign devices' certificates; read again when the files change."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM: the chain that we show, its key, and whom we trust to sign for devices (None: devices show no certificates)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a file does.

        Raises:
            OSError: a file is missing.
        """
        return tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key, self.client_ca) if path is not None)


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Return what connections are opened with: TLS 1.2 or 1.3; a certificate that a device shows must be signed by the client CA.

    Raises:
        OSError: a file is missing, or is none (ssl.SSLError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
