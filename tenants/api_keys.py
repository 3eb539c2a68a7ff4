"""API keys: `iiot_key_<prefix>.<secret>`, a 256-bit secret of which only the SHA-256 hash is kept."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db.models import Q

from tenants.errors import TokenInvalidError
from tenants.models import ApiKey, Tenant

API_KEY_START = "iiot_key_"
_LAST_USED_PRECISION = timedelta(minutes=1)


def new_secret() -> tuple[str, str]:
    """Return a fresh prefix and secret."""
    return secrets.token_hex(6), secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return what is stored of a secret. It is random and long, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def format_token(prefix: str, secret: str) -> str:
    """Return what the client sends after `Bearer`."""
    return f"{API_KEY_START}{prefix}.{secret}"


def read_api_key(raw: str, *, now: datetime) -> ApiKey:
    """Return the key that the token proves, with its tenant. Raises TokenInvalidError."""
    prefix, _, secret = raw.removeprefix(API_KEY_START).partition(".")
    key = ApiKey.objects.select_related("tenant").filter(prefix=prefix).first() if prefix.isalnum() else None
    stored = key.secret_hash if key else hash_secret("")
    is_match = hmac.compare_digest(hash_secret(secret), stored)
    if key is None or not is_match or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise TokenInvalidError("The API key is not valid.")
    if key.tenant.status != Tenant.Status.ACTIVE:
        raise TokenInvalidError("The API key is not valid.")
    _note_use(key, now)
    return key


def _note_use(key: ApiKey, now: datetime) -> None:
    """Remember the moment, at most once a minute per key however many requests come at once."""
    before = now - _LAST_USED_PRECISION
    if key.last_used_at is None or key.last_used_at <= before:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=before), pk=key.pk).update(last_used_at=now)
