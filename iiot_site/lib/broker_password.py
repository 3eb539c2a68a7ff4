"""Broker logins in the form that mosquitto's `password_file` understands: `$7$iterations$salt$hash`.

PBKDF2 with HMAC-SHA-512 over a random salt; salt and hash in Base64.
Source: mosquitto 2.0, src/password_mosq.c (`pw__hash`, hash type 7) and the page mosquitto_passwd(1); RFC 8018 §5.2.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

# The default of mosquitto_passwd 2.0. Device secrets are random and long, so stretching them further buys nothing and
# would cost the broker its CPU when 10,000 devices reconnect.
_ITERATIONS = 101
_MAX_ITERATIONS = 10_000_000
_SALT_BYTES = 12
_HASH_BYTES = 64


def hash_broker_password(secret: str) -> str:
    """Return the salted hash of a broker login's secret."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, _ITERATIONS, _HASH_BYTES)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def verify_broker_password(secret: str, hashed: str) -> bool:
    """Tell whether the secret belongs to the hash; False for any other format."""
    try:
        empty, kind, iterations_text, salt_text, digest_text = hashed.split("$")
        salt = base64.b64decode(salt_text, validate=True)
        digest = base64.b64decode(digest_text, validate=True)
        iterations = int(iterations_text)
    except (ValueError, binascii.Error):
        return False
    if empty or kind != "7" or not 0 < iterations <= _MAX_ITERATIONS or len(digest) != _HASH_BYTES:
        return False
    return hmac.compare_digest(hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, iterations, _HASH_BYTES), digest)
