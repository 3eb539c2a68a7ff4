"""Keeps secrets that must be read again, such as a password that the platform logs in with, unreadable in the database.

AES-256-GCM (NIST SP 800-38D) under a key derived from the site's secret key with HKDF (RFC 5869); the purpose is part of
both, so that what was sealed for one cannot be opened as another. The prefix names the scheme. Whoever changes the
secret key keeps the old one in SECRET_KEY_FALLBACKS until everything has been sealed again.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from iiot_site.lib.errors import IIoTError

PREFIX = "v1."
_NONCE_BYTES = 12
_KEY_BYTES = 32


class UnreadableSecretError(IIoTError):
    """A sealed secret that the present key does not open."""

    code = "unreadable_secret"
    http_status = 409


def seal(secret: bytes, *, purpose: str) -> str:
    """Return `secret` as text that only `unseal` with the same purpose opens; the same secret looks different each time."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_derive_key(settings.SECRET_KEY, purpose)).encrypt(nonce, secret, purpose.encode())
    return PREFIX + urlsafe_b64encode(nonce + sealed).decode()


def unseal(sealed: str, *, purpose: str) -> bytes:
    """Return what was sealed.

    Raises:
        UnreadableSecretError: it was sealed for another purpose or with another key, or was changed.
    """
    try:
        raw = urlsafe_b64decode(sealed.removeprefix(PREFIX)) if sealed.startswith(PREFIX) else b""
    except ValueError:
        raw = b""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return AESGCM(_derive_key(key, purpose)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            continue
    raise UnreadableSecretError("A stored secret cannot be read: the platform's secret key has changed. Enter the secret again.")


def _derive_key(secret_key: str | bytes, purpose: str) -> bytes:
    material = secret_key if isinstance(secret_key, bytes) else secret_key.encode()
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"iiot {PREFIX}{purpose}".encode()).derive(material)
