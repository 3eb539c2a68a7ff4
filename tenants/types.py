"""What the app's services hand out."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from tenants.models import ApiKey, Membership, Tenant, User


@dataclass(frozen=True, slots=True)
class IssuedApiKey:
    """An API key just made. `secret` is the whole bearer token; it is not stored and cannot be read again."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """A pair of tokens for one person in one tenant (or in none)."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Who an access token speaks for, by which login. `tenant` and `membership` are None for a token without tenant."""

    family_id: uuid.UUID
    user: User
    tenant: Tenant | None
    membership: Membership | None


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far the migrations of one schema are."""

    step: str
    done: int
    total: int


ReportProgress = Callable[[MigrationProgress], None]
