"""JSON Web Tokens of people: a short access token, and a refresh token that is replaced each time it is used.

Both carry `tenant` (slug, or null) and `sid` (the TokenFamily), and end with it: at logout, and seven days after the
login at the latest. Rights are never read from a token. A refresh token that comes a second time was copied: its whole
family is revoked (RFC 9700, section 4.14.2).
"""

import uuid
from datetime import datetime
from typing import Any

from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
from rest_framework_simplejwt.utils import get_md5_hash_password

from tenants.errors import TenantNotFoundError, TokenInvalidError
from tenants.models import Tenant, TokenFamily, User
from tenants.selectors import get_active_tenant, load_membership
from tenants.types import IssuedTokens, TokenHolder


def _claim(token: Any, name: str) -> Any:
    try:
        return token[name]
    except KeyError as exc:
        raise TokenInvalidError("The token lacks a claim.") from exc


def _load_family(token: Any, now: datetime) -> TokenFamily:
    """Return the login, with its active person, of a verified token. A changed password ends all earlier logins."""
    try:
        family_id, user_id = uuid.UUID(_claim(token, "sid")), uuid.UUID(_claim(token, api_settings.USER_ID_CLAIM))
    except (ValueError, TypeError, AttributeError) as exc:
        raise TokenInvalidError("The token names nobody.") from exc
    going_on = TokenFamily.objects.filter(revoked_at=None, expires_at__gt=now, user__is_active=True)
    family = going_on.select_related("user").filter(pk=family_id, user_id=user_id).first()
    if family is None or token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(family.user.password):
        raise TokenInvalidError("The login has ended; log in again.")
    return family


def _holder(family: TokenFamily, slug: str | None) -> TokenHolder:
    if slug is None:
        return TokenHolder(family_id=family.pk, user=family.user, tenant=None, membership=None)
    tenant = get_active_tenant(slug) if isinstance(slug, str) else None
    membership = load_membership(user_id=family.user_id, tenant=tenant) if tenant else None
    if tenant is None or membership is None:
        raise TenantNotFoundError("Not found.")
    return TokenHolder(family_id=family.pk, user=family.user, tenant=tenant, membership=membership)


def read_access_token(raw: str, *, now: datetime) -> TokenHolder:
    """Return who the access token speaks for now.

    Raises TokenInvalidError (bad signature, expired, wrong type, audience or issuer, login ended, person disabled) and
    TenantNotFoundError (tenant suspended or no longer the person's).
    """
    try:
        token = AccessToken(raw)  # type: ignore[arg-type]  # simplejwt annotates the raw token as a Token
    except TokenError as exc:
        raise TokenInvalidError("The token is not valid or has expired.") from exc
    return _holder(_load_family(token, now), _claim(token, "tenant"))


def _sign(tenant: Tenant | None, family: TokenFamily) -> IssuedTokens:
    refresh = RefreshToken.for_user(family.user)
    refresh["tenant"] = tenant.slug if tenant else None
    refresh["sid"] = str(family.pk)
    refresh["exp"] = int(family.expires_at.timestamp())
    family.current_jti = refresh[api_settings.JTI_CLAIM]
    return IssuedTokens(access=str(refresh.access_token), refresh=str(refresh))


def issue_tokens(*, user: User, tenant: Tenant | None, now: datetime) -> IssuedTokens:
    """Start a family of tokens. The caller has checked the membership."""
    TokenFamily.objects.filter(user=user, expires_at__lt=now).delete()
    family = TokenFamily(user=user, created_at=now, last_used_at=now, expires_at=now + api_settings.REFRESH_TOKEN_LIFETIME)
    tokens = _sign(tenant, family)
    family.save()
    return tokens


def switch_tokens(*, family_id: uuid.UUID, tenant: Tenant, now: datetime) -> IssuedTokens:
    """Go on in another tenant within the same login; its former refresh token is used up. The caller has checked the membership."""
    family = TokenFamily.objects.select_related("user").filter(pk=family_id).first()
    if family is None:
        raise TokenInvalidError("The login has ended; log in again.")
    tokens = _sign(tenant, family)
    going_on = TokenFamily.objects.filter(pk=family_id, revoked_at=None)
    if not going_on.update(current_jti=family.current_jti, last_used_at=now):
        raise TokenInvalidError("The login has ended; log in again.")
    return tokens


def _read_refresh_token(raw: str) -> tuple[RefreshToken, uuid.UUID]:
    try:
        token = RefreshToken(raw)  # type: ignore[arg-type]  # see read_access_token
        return token, uuid.UUID(_claim(token, "sid"))
    except (TokenError, ValueError, TypeError, AttributeError) as exc:
        raise TokenInvalidError("The refresh token is not valid or has expired.") from exc


def rotate_tokens(*, raw: str, now: datetime) -> IssuedTokens:
    """Exchange a refresh token for a new pair. Raises TokenInvalidError, also for one that was exchanged before."""
    token, family_id = _read_refresh_token(raw)
    family = _load_family(token, now)
    holder = _holder(family, _claim(token, "tenant"))
    tokens = _sign(holder.tenant, family)
    # Compare and swap: of two exchanges of one token, one at most wins.
    swapped = TokenFamily.objects.filter(pk=family_id, revoked_at=None, current_jti=token[api_settings.JTI_CLAIM]).update(
        current_jti=family.current_jti, last_used_at=now
    )
    if not swapped:
        revoke_family(family_id=family_id, now=now)
        raise TokenInvalidError("This refresh token was used before; the login has been ended.")
    return tokens


def revoke_family(*, family_id: uuid.UUID, now: datetime) -> None:
    """End a login: none of its tokens works any more."""
    TokenFamily.objects.filter(pk=family_id, revoked_at=None).update(revoked_at=now)


def end_login(*, raw: str, now: datetime) -> None:
    """Revoke the family of a refresh token; an invalid token is nothing to revoke."""
    try:
        _, family_id = _read_refresh_token(raw)
    except TokenInvalidError:
        return
    revoke_family(family_id=family_id, now=now)
