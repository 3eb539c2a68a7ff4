"""API keys: `iiot_key_<prefix>.<secret>`, a 256-bit secret of which only the SHA-256 hash is kept."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from tenants.errors import TokenInvalidError
from tenants.models import ApiKey, Tenant

API_KEY_START = "iiot_key_"
_LAST_USED_PRECISION = timedelta(minutes=1)
# In the order of the models' own fields.
_KEY_COLUMNS = ("id", "tenant_id", "name", "prefix", "secret_hash", "permissions", "expires_at", "revoked_at", "last_used_at")
_TENANT_COLUMNS = ("schema_name", "id", "slug", "name", "status")
# By hand: it is asked for with every request of a program, and Django takes six times as long to put it together.
_FIND_SQL = f"""
SELECT {", ".join(f"k.{name}" for name in _KEY_COLUMNS)}, {", ".join(f"t.{name}" for name in _TENANT_COLUMNS)}
FROM tenants_apikey k JOIN tenants_tenant t ON t.id = k.tenant_id WHERE k.prefix = %s
"""  # noqa: S608 - made of constants


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
    key = _find_key(prefix) if prefix.isalnum() else None
    stored = key.secret_hash if key else hash_secret("")
    is_match = hmac.compare_digest(hash_secret(secret), stored)
    if key is None or not is_match or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise TokenInvalidError("The API key is not valid.")
    if key.tenant.status != Tenant.Status.ACTIVE:
        raise TokenInvalidError("The API key is not valid.")
    _note_use(key, now)
    return key


def _find_key(prefix: str) -> ApiKey | None:
    """Return the key with its tenant, as they are in the database now."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND_SQL, [prefix])
        row = cursor.fetchone()
    if row is None:
        return None
    key = ApiKey.from_db(connection.alias, _KEY_COLUMNS, row[: len(_KEY_COLUMNS)])
    key.tenant = Tenant.from_db(connection.alias, _TENANT_COLUMNS, row[len(_KEY_COLUMNS) :])
    return key


def _note_use(key: ApiKey, now: datetime) -> None:
    """Remember the moment, at most once a minute per key however many requests come at once."""
    before = now - _LAST_USED_PRECISION
    if key.last_used_at is None or key.last_used_at <= before:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=before), pk=key.pk).update(last_used_at=now)
