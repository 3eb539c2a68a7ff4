"""How device credentials look on the wire, and how their secrets are kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

TOKEN_START = "iiot_dev_"  # noqa: S105 - how every token starts, not a secret

_TOKEN = re.compile(r"iiot_dev_([a-z][a-z0-9-]{0,38}[a-z0-9])\.([0-9a-f]{12})\.([A-Za-z0-9_-]{43})\Z")
_PREFIX_BYTES = 6
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """The three parts of `iiot_dev_<tenant>.<prefix>.<secret>`. The prefix finds the credential, the secret proves it."""

    tenant: str
    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"{TOKEN_START}{self.tenant}.{self.prefix}.{self.secret}"


def make_device_token(tenant: str) -> DeviceToken:
    """Return a new random token (256 bits)."""
    return DeviceToken(tenant, secrets.token_hex(_PREFIX_BYTES), make_secret())


def parse_device_token(token: str) -> DeviceToken | None:
    """Take a token apart; None where it is none."""
    match = _TOKEN.match(token)
    return DeviceToken(*match.groups()) if match else None


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
