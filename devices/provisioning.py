"""Provisioning keys on the wire, and whether one may be used. Pure."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from devices.credential_formats import make_secret

KEY_START = "iiot_prov_"
_KEY = re.compile(r"iiot_prov_([a-z][a-z0-9-]{0,38}[a-z0-9])\.([0-9a-f]{12})\.([A-Za-z0-9_-]{43})\Z")
_PREFIX_BYTES = 6


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The three parts of `iiot_prov_<tenant>.<prefix>.<secret>`. The prefix finds the key, the secret proves it."""

    tenant: str
    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"{KEY_START}{self.tenant}.{self.prefix}.{self.secret}"


def make_provisioning_key(tenant: str) -> KeyParts:
    """Return a new random key (256 bits)."""
    return KeyParts(tenant, secrets.token_hex(_PREFIX_BYTES), make_secret())


def parse_provisioning_key(text: str) -> KeyParts | None:
    """Take a key apart; None where it is none."""
    match = _KEY.match(text)
    return KeyParts(*match.groups()) if match else None


def why_unusable(
    *, revoked_at: datetime | None, expires_at: datetime | None, use_count: int, max_uses: int | None, now: datetime
) -> str | None:
    """Say why a key may not register one more device; None: it may."""
    if revoked_at is not None:
        return "The provisioning key has been revoked."
    if expires_at is not None and expires_at <= now:
        return "The provisioning key has expired."
    if max_uses is not None and use_count >= max_uses:
        return f"The provisioning key has registered all {max_uses} devices that it may."
    return None
