"""Changes to tenants, memberships and API keys."""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django_tenants.utils import schema_context

from iiot_site.lib.redis_guard import guarded
from iiot_site.lib.times import LAST_MOMENT
from tenants.api_keys import format_token, hash_secret, new_secret
from tenants.errors import SlugTakenError, UnknownNameError
from tenants.models import ApiKey, Membership, Role, Tenant, User, validate_slug
from tenants.permissions import EVERYTHING, is_permission
from tenants.provisioning import provision_tenant
from tenants.selectors import PUBLIC_SCHEMA, clear_tenant_cache
from tenants.tasks import provision_tenant_task
from tenants.types import IssuedApiKey

__all__ = [
    "change_password",
    "create_person",
    "create_tenant",
    "ensure_membership",
    "has_other_admin",
    "invite_member",
    "issue_api_key",
    "provision_tenant",
    "record_login",
    "retry_provisioning",
    "revoke_api_key",
    "save_api_key",
    "save_membership",
    "set_suspended",
]


def _enqueue_provisioning(tenant: Tenant) -> None:
    # Robust: with the broker away the row stays in "creating" and the admin offers to try again.
    transaction.on_commit(lambda: _send_provisioning(tenant), robust=True)


def _send_provisioning(tenant: Tenant) -> None:
    with schema_context(PUBLIC_SCHEMA), guarded():  # the message carries the schema
        provision_tenant_task.apply_async((str(tenant.pk),), retry=False)


def create_tenant(*, slug: str, name: str) -> Tenant:
    """Register a tenant; a worker creates its schema after commit (`Tenant.progress` tells how far it is).

    Raises ValidationError for a slug that cannot be one and SlugTakenError.
    """
    validate_slug(slug)
    schema = f"t_{slug.replace('-', '_')}"
    if Tenant.objects.filter(Q(slug=slug) | Q(schema_name=schema)).exists():
        raise SlugTakenError(f"The slug {slug} is taken.")
    tenant = Tenant(slug=slug, name=name, schema_name=schema)
    try:
        with schema_context(PUBLIC_SCHEMA), transaction.atomic():
            tenant.save()
            _enqueue_provisioning(tenant)
    except (IntegrityError, ValidationError) as exc:  # somebody was faster; django-tenants looks at the schema's name itself
        raise SlugTakenError(f"The slug {slug} is taken.") from exc
    clear_tenant_cache()
    return tenant


@transaction.atomic
def retry_provisioning(*, tenant: Tenant) -> None:
    """Let a worker finish a tenant whose creation failed or was cut off."""
    retried = Tenant.objects.filter(pk=tenant.pk, status__in=[Tenant.Status.FAILED, Tenant.Status.CREATING])
    if retried.update(status=Tenant.Status.CREATING, progress={}):
        _enqueue_provisioning(tenant)


def set_suspended(*, tenant: Tenant, is_suspended: bool) -> None:
    """Close a tenant to everybody, or open it again. Nothing is deleted."""
    before, after = (Tenant.Status.ACTIVE, Tenant.Status.SUSPENDED) if is_suspended else (Tenant.Status.SUSPENDED, Tenant.Status.ACTIVE)
    Tenant.objects.filter(pk=tenant.pk, status=before).update(status=after)
    clear_tenant_cache()


def create_person(*, email: str, password: str, full_name: str = "", is_platform_admin: bool = False) -> User:
    """Make an account that can log in."""
    return User.objects.create_user(email, password, full_name=full_name, is_platform_admin=is_platform_admin)


def change_password(*, user: User, password: str) -> None:
    """Give a person another password; what they are logged in with ends."""
    user.set_password(password)
    user.save(update_fields=["password"])


@transaction.atomic
def ensure_membership(*, user: User, tenant: Tenant, role_names: Collection[str]) -> Membership:
    """Make the person an active member with exactly these roles, built in or the tenant's own. Raises UnknownNameError."""
    roles = Role.objects.filter(Q(tenant=None) | Q(tenant=tenant), name__in=role_names)
    missing = set(role_names) - {role.name for role in roles}
    if missing:
        raise UnknownNameError(f"There is no role {', '.join(sorted(missing))} in {tenant.slug}.")
    membership, _ = Membership.objects.update_or_create(user=user, tenant=tenant, defaults={"is_active": True})
    membership.roles.set(roles)
    return membership


@transaction.atomic
def invite_member(*, tenant: Tenant, email: str) -> Membership:
    """Make the person of that e-mail address a member without roles yet; who is not known gets an account without password."""
    user = User.objects.filter(email=email.strip().lower()).first() or User.objects.create_user(email)
    membership, _ = Membership.objects.get_or_create(user=user, tenant=tenant)
    return membership


@transaction.atomic
def save_membership(*, membership: Membership, roles: Iterable[Role]) -> None:
    """Write a membership with exactly these roles."""
    membership.save()
    membership.roles.set(roles)


def has_other_admin(*, membership: Membership) -> bool:
    """Tell whether somebody else may do everything in the tenant. Until the transaction ends no other one can ask."""
    Tenant.objects.select_for_update().get(pk=membership.tenant_id)
    others = Membership.objects.filter(tenant_id=membership.tenant_id, is_active=True, user__is_active=True)
    others = others.exclude(pk=membership.pk).prefetch_related("roles")
    return any(EVERYTHING in other.permissions for other in others)


def record_login(*, user: User, now: datetime) -> None:
    """Remember when the person last logged in through the API; Django does so for the login page."""
    User.objects.filter(pk=user.pk).update(last_login=now)


def _check_permissions(names: Collection[str]) -> None:
    unknown = [name for name in names if not is_permission(name)]
    if unknown:
        raise UnknownNameError(f"There is no permission {', '.join(unknown)}.")


def issue_api_key(
    *, tenant: Tenant, name: str, permissions: Iterable[str], created_by: User | None, expires_at: datetime | None = None
) -> IssuedApiKey:
    """Make a key for a program. Its secret is in the answer and nowhere else. Raises UnknownNameError."""
    wanted = sorted(set(permissions))
    _check_permissions(wanted)
    prefix, secret = new_secret()
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        prefix=prefix,
        secret_hash=hash_secret(secret),
        permissions=wanted,
        created_by=created_by,
        expires_at=expires_at and min(expires_at, LAST_MOMENT),
    )
    return IssuedApiKey(key=key, secret=format_token(prefix, secret))


def save_api_key(*, key: ApiKey) -> None:
    """Write what may change of a key: name, permissions and expiry. Raises UnknownNameError."""
    _check_permissions(key.permissions)
    key.expires_at = key.expires_at and min(key.expires_at, LAST_MOMENT)
    key.save(update_fields=["name", "permissions", "expires_at"])


def revoke_api_key(*, key: ApiKey, now: datetime | None = None) -> None:
    """End a key at once."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now or timezone.now())
