"""What a credential is worth at a moment. Pure."""

from datetime import datetime
from typing import Literal

CredentialState = Literal["valid", "rotated", "expired", "revoked"]


def credential_state(
    *, revoked_at: datetime | None, rotated_at: datetime | None, expires_at: datetime | None, now: datetime
) -> CredentialState:
    """Return the state; "rotated" still works until it expires, its successor is already there."""
    if revoked_at is not None:
        return "revoked"
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "valid" if rotated_at is None else "rotated"
