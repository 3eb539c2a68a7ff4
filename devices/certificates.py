"""Reads the X.509 certificates that devices prove themselves with (RFC 5280). The certificate is pinned by its SHA-256."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from devices.errors import CertificateRefusedError

MAX_PEM_CHARACTERS = 16_384
_BEGIN = "-----BEGIN CERTIFICATE-----"
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion, UnsupportedAlgorithm)
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What is kept of a certificate. `names` are its common names, DNS names and URIs."""

    fingerprint: str
    subject: str
    names: frozenset[str]
    not_before: datetime
    not_after: datetime


def fingerprint_of(der: bytes) -> str:
    """Return the SHA-256 of a certificate in hex, as `openssl x509 -fingerprint -sha256` prints it without the colons."""
    return hashlib.sha256(der).hexdigest()


def read_certificate(pem: str) -> CertificateFacts:
    """Take one PEM certificate apart.

    Raises:
        CertificateRefusedError: it is none, more than one, too long, comes with its private key, or has a weak key.
    """
    if "PRIVATE KEY" in pem:
        raise CertificateRefusedError("Send the certificate only. The private key stays on the device; replace the one you sent.")
    if len(pem) > MAX_PEM_CHARACTERS or pem.count(_BEGIN) != 1:
        raise CertificateRefusedError(f"Send exactly one certificate in PEM, from {_BEGIN} on.")
    try:
        certificate = x509.load_pem_x509_certificate(pem.strip().encode())
        facts = _facts_of(certificate)
        key = certificate.public_key()
    except _UNREADABLE as exc:
        raise CertificateRefusedError("This is no readable X.509 certificate in PEM.") from exc
    if (isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048) or (isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 256):
        raise CertificateRefusedError("The certificate's key is too short: use RSA with 2048 bits or EC with 256 bits at least.")
    return facts


def is_within_validity(der: bytes, now: datetime) -> bool:
    """Tell whether a certificate's own dates allow it now; False for what is no certificate."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        return False
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def tenants_named_in(der: bytes) -> frozenset[str]:
    """Return the tenants whose devices a certificate names as `<tenant>/<device>`; none for what is no certificate."""
    try:
        names = _facts_of(x509.load_der_x509_certificate(der)).names
    except _UNREADABLE:
        return frozenset()
    return frozenset(name.partition("/")[0] for name in names if _LOGIN.fullmatch(name))


def _facts_of(certificate: x509.Certificate) -> CertificateFacts:
    names = {str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names |= {*others.get_values_for_type(x509.DNSName), *others.get_values_for_type(x509.UniformResourceIdentifier)}
    except x509.ExtensionNotFound:
        pass
    return CertificateFacts(
        fingerprint=fingerprint_of(certificate.public_bytes(Encoding.DER)),
        subject=certificate.subject.rfc4514_string(),
        names=frozenset(names),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
