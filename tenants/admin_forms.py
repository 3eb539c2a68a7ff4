"""Forms of the admin pages: what may be entered, and that nobody hands out more than they have."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminEmailInputWidget

from tenants.models import ApiKey, Membership, Role, Tenant
from tenants.permissions import EVERY_READ, EVERYTHING, PERMISSIONS, allows_all
from tenants.services import has_other_admin

_CHOICES = [(EVERYTHING, "everything"), (EVERY_READ, "read everything"), *((name, name) for name in PERMISSIONS)]


class NewTenantForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    class Meta:
        model = Tenant
        fields = ["name", "slug"]

    def clean_slug(self) -> str:
        """Refuse what would get another tenant's schema: hyphens and underscores fall together."""
        slug = str(self.cleaned_data["slug"])
        if Tenant.objects.filter(schema_name=f"t_{slug.replace('-', '_')}").exists():
            raise ValidationError("This slug is taken.")
        return slug


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    class Meta:
        model = Tenant
        fields = ["name"]


class _PermissionsForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """Chooses from the catalogue. `granted_by` is the membership of whoever hands out; None outside of tenants."""

    granted_by: Membership | None = None
    permissions = forms.MultipleChoiceField(choices=_CHOICES, widget=UnfoldAdminCheckboxSelectMultipleWidget, required=False)

    def clean_permissions(self) -> list[str]:
        """Refuse a grant beyond one's own rights."""
        wanted = list(self.cleaned_data["permissions"])
        if self.granted_by is not None and not allows_all(self.granted_by.permissions, wanted):
            raise ValidationError("You cannot hand out rights that you do not have.")
        return wanted


class RoleForm(_PermissionsForm):
    class Meta:
        model = Role
        fields = ["name", "tenant", "permissions"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("tenant") is None and "tenant" in self.fields:
            self.add_error("tenant", "Choose the tenant; only the built-in roles have none.")
        return cleaned


class ApiKeyForm(_PermissionsForm):
    class Meta:
        model = ApiKey
        fields = ["name", "permissions", "expires_at"]


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """For platform admins: any person in any tenant."""

    granted_by: Membership | None = None

    class Meta:
        model = Membership
        fields = ["user", "tenant", "roles", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "roles" in self.fields:
            self.fields["roles"].queryset = self._roles()  # type: ignore[attr-defined]  # a ModelMultipleChoiceField

    def _roles(self) -> QuerySet[Role]:
        tenant = self.granted_by.tenant if self.granted_by else getattr(self.instance, "tenant_id", None)
        return Role.objects.filter(Q(tenant=None) | Q(tenant=tenant)) if tenant else Role.objects.filter(tenant=None)

    def clean_roles(self) -> QuerySet[Role]:
        """Refuse a grant beyond one's own rights, and changing whoever has more."""
        roles: QuerySet[Role] = self.cleaned_data["roles"]
        if self.granted_by is None:
            return roles
        touched = {permission for role in roles for permission in role.permissions}
        if not self.instance._state.adding:  # noqa: SLF001  # the way to tell a new row when ids are UUIDs
            touched |= self.instance.permissions
        if not allows_all(self.granted_by.permissions, touched):
            raise ValidationError("You cannot hand out rights that you do not have.")
        return roles


class MemberForm(MembershipForm):
    """For a tenant's administrators: people are named by e-mail address, so that nobody can leaf through all of them."""

    email = forms.EmailField(
        widget=UnfoldAdminEmailInputWidget,
        help_text="Who is not known yet gets an account without a password, to be set by a platform admin.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:  # noqa: SLF001  # see MembershipForm
            self.fields.pop("email", None)

    def clean(self) -> dict[str, Any]:
        """Refuse to leave the tenant without anybody who may do everything."""
        cleaned = super().clean() or {}
        if self.instance._state.adding or "roles" not in cleaned:  # noqa: SLF001  # see MembershipForm
            return cleaned
        stays = cleaned.get("is_active") and any(EVERYTHING in role.permissions for role in cleaned["roles"])
        if EVERYTHING in self.instance.permissions and not stays and not has_other_admin(membership=self.instance):
            raise ValidationError("This is the last administrator; make somebody else one first.")
        return cleaned

    def clean_email(self) -> str:
        """Refuse somebody who is a member already."""
        email = str(self.cleaned_data["email"]).strip().lower()
        tenant = self.granted_by.tenant if self.granted_by else None
        if Membership.objects.filter(tenant=tenant, user__email=email).exists():
            raise ValidationError("This person is a member already.")
        return email
