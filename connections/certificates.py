"""How people compare certificates. Pure."""

import hashlib


def fingerprint_of(certificate: bytes) -> str:
    """Return SHA-256 of a certificate (DER) as AB:CD:…; "" for none."""
    if not certificate:
        return ""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
