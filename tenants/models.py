"""Organisations and people. All of it lives in the shared schema."""

import uuid
from collections.abc import Collection
from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth import get_backends
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django_tenants.models import DomainMixin, TenantMixin

SLUG_PATTERN = r"^[a-z][a-z0-9-]{0,38}[a-z0-9]\Z"
validate_slug = RegexValidator(
    SLUG_PATTERN,
    "Use 2 to 40 lower-case letters, digits and hyphens; start with a letter and do not end with a hyphen.",
)


class Tenant(TenantMixin):
    """An organisation with a database schema of its own."""

    class Status(models.TextChoices):
        CREATING = "creating", "Creating"
        ACTIVE = "active", "Active"
        FAILED = "failed", "Creation failed"
        SUSPENDED = "suspended", "Suspended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(max_length=40, unique=True, validators=[validate_slug], help_text="Part of every address and topic.")
    name = models.CharField(max_length=120)
    status = models.CharField(max_length=12, choices=Status, default=Status.CREATING, editable=False)
    progress = models.JSONField(default=dict, editable=False, help_text="While creating: step, done, total, error.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    auto_create_schema = False
    auto_drop_schema = False

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Domain(DomainMixin):
    """A host name of its own for a tenant."""

    def __str__(self) -> str:
        return str(self.domain)


class UserManager(BaseUserManager["User"]):
    """Creates people by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser):
    """A person; belongs to tenants through memberships. Deactivated, never deleted."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_platform_admin = models.BooleanField(default=False, help_text="Manages tenants and users; sees no tenant's data.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ["email"]

    def __str__(self) -> str:
        return self.full_name or self.email

    def clean(self) -> None:
        super().clean()
        self.email = self.email.strip().lower()

    @property
    def is_staff(self) -> bool:
        """Whether the admin's login form lets the person in at all; what they see there is decided per tenant."""
        return self.is_active

    @cached_property
    def known_memberships(self) -> dict[uuid.UUID, "Membership | None"]:
        """What was looked up for this object, by tenant: asked once per request."""
        return {}

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Answer for Django's admin: `app.action_model` in the tenant that the connection is in."""
        return any(b.has_perm(self, perm, obj) for b in get_backends() if hasattr(b, "has_perm"))

    def has_perms(self, perm_list: Collection[str], obj: Any = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return any(b.has_module_perms(self, app_label) for b in get_backends() if hasattr(b, "has_module_perms"))


class Role(models.Model):
    """A named set of `resource:action` permissions. Built-in roles have no tenant and come with a migration."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="roles")
    name = models.CharField(max_length=40)
    permissions = ArrayField(models.CharField(max_length=60), default=list, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="role_once_per_tenant", nulls_distinct=False)]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's place in a tenant, with roles."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    roles = models.ManyToManyField(Role, related_name="memberships", blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "tenant"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}"

    @cached_property
    def permissions(self) -> frozenset[str]:
        """What the roles allow together. A role of another tenant counts for nothing here."""
        return frozenset(p for role in self.roles.all() if role.tenant_id in {None, self.tenant_id} for p in role.permissions)


class ApiKey(models.Model):
    """A program's access to one tenant. The secret is shown once; only its hash is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the 256-bit secret, hex.")
    permissions = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    created_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class TokenFamily(models.Model):
    """One login through the API: the chain of refresh tokens that followed from it. Only the newest is good."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    current_jti = models.CharField(max_length=32, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API login"
        ordering = ["-last_used_at"]
        indexes = [models.Index(fields=["expires_at"])]

    def __str__(self) -> str:
        return f"API login of {self.user}"


class LoginFailures(models.Model):
    """Failures to log in, counted for one limit; see `tenants.login_limits`."""

    key = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of the limit and whom it names, hex.")
    failures = models.IntegerField()
    until = models.DateTimeField(help_text="When counting begins anew.")

    class Meta:
        verbose_name_plural = "login failures"
        indexes = [models.Index(fields=["until"])]

    def __str__(self) -> str:
        return f"{self.failures} until {self.until:%Y-%m-%d %H:%M:%S}"


class Timer(models.Model):
    """Something that has to happen at a time, in one tenant: `kind` says what, `key` to which thing. See `tenants.timers`."""

    id = models.BigAutoField(primary_key=True)
    schema = models.CharField(max_length=63)
    kind = models.CharField(max_length=40)
    key = models.CharField(max_length=200, blank=True)
    due_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["kind", "due_at"])]
        constraints = [models.UniqueConstraint(fields=["schema", "kind", "key"], name="timer_once")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.schema} at {self.due_at:%Y-%m-%d %H:%M:%S}"
