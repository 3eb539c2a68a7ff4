"""Changes to tenants, memberships and API keys."""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tenants.api_keys import format_token, hash_secret, new_secret
from tenants.errors import SlugTakenError, UnknownNameError
from tenants.models import ApiKey, Membership, Role, Tenant, User, validate_slug
from tenants.permissions import is_permission
from tenants.provisioning import provision_tenant
from tenants.selectors import clear_tenant_cache
from tenants.tasks import provision_tenant_task
from tenants.types import IssuedApiKey

__all__ = [
    "create_tenant",
    "ensure_membership",
    "invite_member",
    "issue_api_key",
    "provision_tenant",
    "retry_provisioning",
    "revoke_api_key",
    "set_suspended",
]


def _enqueue_provisioning(tenant: Tenant) -> None:
    # Robust: with the broker away the row stays in "creating" and the admin offers to try again.
    transaction.on_commit(lambda: provision_tenant_task.delay(str(tenant.pk)), robust=True)


@transaction.atomic
def create_tenant(*, slug: str, name: str) -> Tenant:
    """Register a tenant; a worker creates its schema after commit (`Tenant.progress` tells how far it is).

    Raises ValidationError for a slug that cannot be one and SlugTakenError.
    """
    validate_slug(slug)
    schema = f"t_{slug.replace('-', '_')}"
    if Tenant.objects.filter(Q(slug=slug) | Q(schema_name=schema)).exists():
        raise SlugTakenError(f"The slug {slug} is taken.")
    tenant = Tenant(slug=slug, name=name, schema_name=schema)
    tenant.save()
    _enqueue_provisioning(tenant)
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


def issue_api_key(
    *, tenant: Tenant, name: str, permissions: Iterable[str], created_by: User | None, expires_at: datetime | None = None
) -> IssuedApiKey:
    """Make a key for a program. Its secret is in the answer and nowhere else. Raises UnknownNameError."""
    wanted = sorted(set(permissions))
    unknown = [name for name in wanted if not is_permission(name)]
    if unknown:
        raise UnknownNameError(f"There is no permission {', '.join(unknown)}.")
    prefix, secret = new_secret()
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        prefix=prefix,
        secret_hash=hash_secret(secret),
        permissions=wanted,
        created_by=created_by,
        expires_at=expires_at,
    )
    return IssuedApiKey(key=key, secret=format_token(prefix, secret))


def revoke_api_key(*, key: ApiKey, now: datetime | None = None) -> None:
    """End a key at once."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now or timezone.now())
