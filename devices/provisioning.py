"""Whether a provisioning key may be used. Pure."""

from datetime import datetime


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
