"""The platform's own application instance certificate (OPC 10000-6 §6.2.2): made once, kept in the data folder."""

import fcntl
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from connections.certificates import fingerprint_of

APPLICATION_NAME = "IIoT platform"
_VALID_DAYS = 3650
_RENEW_BEFORE = timedelta(days=30)
_MIDDLE_OF_DER = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Certificate (DER) and key (PEM) of the platform, and the URI that the certificate carries."""

    application_uri: str
    certificate: bytes
    private_key: bytes

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.certificate)


def first_certificate(chain: bytes | None) -> bytes:
    """Return the server's own certificate of what may be a chain (OPC 10000-6 §6.2.6); b"" where there is none."""
    if not chain or len(chain) < _MIDDLE_OF_DER:
        return b""
    return chain[: int.from_bytes(chain[2:4], "big") + 4]


def load_identity(folder: Path, *, now: datetime | None = None) -> Identity:
    """Return the platform's identity, made where `folder` has none or it is about to expire."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # web process and listener may both be first
        return _load_or_make(folder, now or datetime.now(UTC))
    finally:
        os.close(handle)


def _load_or_make(folder: Path, now: datetime) -> Identity:
    certificate_path, key_path = folder / "certificate.der", folder / "private_key.pem"
    try:
        certificate, key = certificate_path.read_bytes(), key_path.read_bytes()
        parsed = x509.load_der_x509_certificate(certificate)
        if parsed.not_valid_after_utc > now + _RENEW_BEFORE:
            return Identity(_uri_of(parsed), certificate, key)
    except (FileNotFoundError, ValueError):
        pass
    identity = _make_identity()
    _write_private(key_path, identity.private_key)
    _write_private(certificate_path, identity.certificate)
    return identity


def _make_identity() -> Identity:
    host = socket.gethostname()
    uri = f"urn:{host}:iiot-platform"
    key = generate_private_key()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName(host)]
    if host != "localhost":
        names += [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = generate_self_signed_app_certificate(key, APPLICATION_NAME, {}, names, uses, days=_VALID_DAYS)
    return Identity(uri, certificate.public_bytes(Encoding.DER), dump_private_key_as_pem(key))


def _uri_of(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as exc:
        raise ValueError("the certificate has no application URI") from exc
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    temporary.replace(path)
