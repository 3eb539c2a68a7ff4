"""How device credentials look on the wire, and how their secrets are kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

TOKEN_START, KEY_START = "iiot_dev_", "iiot_prov_"  # how these start, no secrets
_PARTS = re.compile(r"([a-z][a-z0-9-]{0,38}[a-z0-9])\.([0-9a-f]{12})\.([A-Za-z0-9_-]{43})\Z")
_PREFIX_BYTES = 6
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class BearerSecret:
    """The parts of `<start><tenant>.<prefix>.<secret>`. The start says what it is, the prefix finds it, the secret proves it."""

    start: str
    tenant: str
    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"{self.start}{self.tenant}.{self.prefix}.{self.secret}"


def make_device_token(tenant: str) -> BearerSecret:
    """Return a new random access token (256 bits)."""
    return _make(TOKEN_START, tenant)


def parse_device_token(text: str) -> BearerSecret | None:
    """Take a token apart; None where it is none."""
    return _parse(TOKEN_START, text)


def make_provisioning_key(tenant: str) -> BearerSecret:
    """Return a new random key (256 bits) with which devices register themselves."""
    return _make(KEY_START, tenant)


def parse_provisioning_key(text: str) -> BearerSecret | None:
    """Take a key apart; None where it is none."""
    return _parse(KEY_START, text)


def _make(start: str, tenant: str) -> BearerSecret:
    return BearerSecret(start, tenant, secrets.token_hex(_PREFIX_BYTES), make_secret())


def _parse(start: str, text: str) -> BearerSecret | None:
    match = _PARTS.match(text, len(start)) if text.startswith(start) else None
    return BearerSecret(start, *match.groups()) if match else None


def make_secret() -> str:
    """Return 256 random bits in URL-safe text that does not begin like an option of a command or a spreadsheet's formula."""
    while (secret := secrets.token_urlsafe(_SECRET_BYTES)).startswith("-"):
        pass
    return secret


def hash_token_secret(secret: str) -> str:
    """Return the SHA-256 of a random secret in hex; 256 bits need no salt and no stretching."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_token_secret(secret: str, hashed: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_token_secret(secret), hashed)


def mqtt_username(tenant: str, device_key: str) -> str:
    """Return the broker login of a device; the broker's ACL gives it `t/<username>/#` and nothing else."""
    return f"{tenant}/{device_key}"


def slug_of_schema(schema: str) -> str:
    """Return the tenant's slug: the schema is `t_` and the slug with underscores in place of hyphens."""
    return schema.removeprefix("t_").replace("_", "-")
