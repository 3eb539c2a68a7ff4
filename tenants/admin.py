"""Outside: tenants, people, memberships, roles, domains and logins, for platform admins. Inside: members and API keys."""

import secrets
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.admin_base import ReadOnlyMixin, SharedModelAdmin
from tenants.admin_forms import ApiKeyForm, MemberForm, MembershipForm, NewTenantForm, RoleForm, TenantForm
from tenants.models import ApiKey, Domain, Membership, Role, Tenant, TokenFamily, User
from tenants.services import (
    change_password,
    create_tenant,
    invite_member,
    issue_api_key,
    retry_provisioning,
    revoke_api_key,
    save_api_key,
    save_membership,
    set_suspended,
)
from tenants.tokens import revoke_family

REFRESH_SECONDS = "2"


@admin.register(Tenant)
class TenantAdmin(SharedModelAdmin):
    """Tenants are created by a worker; while one is, the page shows how far it is and reloads itself."""

    list_display = ["name", "slug", "status", "how_far", "created_at"]
    list_filter = ["status"]
    search_fields = ["name", "slug"]
    actions = ["retry", "suspend", "reopen"]
    readonly_fields = ["slug", "status", "how_far", "created_at"]

    def get_form(self, request: HttpRequest, obj: Tenant | None = None, **kwargs: Any) -> Any:
        return super().get_form(request, obj, form=NewTenantForm if obj is None else TenantForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return ["name", "slug"] if obj is None else ["name", "slug", "status", "how_far", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return [] if obj is None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False

    @admin.display(description="Progress")
    def how_far(self, tenant: Tenant) -> SafeString | str:
        """Show a bar while it is created, and the reason when that failed."""
        progress = tenant.progress
        if tenant.status == Tenant.Status.FAILED:
            return format_html("{} (to try again, choose that action in the list)", progress.get("error", ""))
        if tenant.status == Tenant.Status.CREATING:
            done, total = progress.get("done", 0), progress.get("total", 0)
            text = f"{done} of {total}: {progress['step']}" if progress else "waiting for a worker"
            return format_html('<progress value="{}" max="{}"></progress> {}', done, total or 1, text)
        return "ready"

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["name"])
            return
        created = create_tenant(slug=obj.slug, name=obj.name)
        obj.pk, obj._state.adding = created.pk, False  # noqa: SLF001  # the admin goes on with the row that the service made

    def response_add(self, request: HttpRequest, obj: Tenant, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, f"{obj.name} is being created.")
        return HttpResponseRedirect(reverse("admin:tenants_tenant_change", args=[obj.pk]))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().change_view(request, object_id, *args, **kwargs)
        return self._reload_while_creating(response, pk=object_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        return self._reload_while_creating(response)

    def _reload_while_creating(self, response: HttpResponse, **which: str) -> HttpResponse:
        is_shown = response.status_code == 200  # plain OK; an id that is none has led elsewhere
        if is_shown and Tenant.objects.filter(status=Tenant.Status.CREATING, **which).exists():
            response.headers["Refresh"] = REFRESH_SECONDS
        return response

    @admin.action(description="Try again to create", permissions=["change"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        for tenant in queryset:
            retry_provisioning(tenant=tenant)

    @admin.action(description="Suspend", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        for tenant in queryset:
            set_suspended(tenant=tenant, is_suspended=True)

    @admin.action(description="Reopen", permissions=["change"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        for tenant in queryset:
            set_suspended(tenant=tenant, is_suspended=False)


@admin.register(Domain)
class DomainAdmin(SharedModelAdmin):
    list_display = ["domain", "tenant", "is_primary"]
    search_fields = ["domain"]
    autocomplete_fields = ["tenant"]


@admin.register(User)
class UserAdmin(SharedModelAdmin):
    """People. A password is made up and shown once; nobody can read it afterwards."""

    list_display = ["email", "full_name", "access", "last_login"]
    list_filter = ["is_active", "is_platform_admin"]
    search_fields = ["email", "full_name"]
    fields = ["email", "full_name", "is_active", "is_platform_admin", "last_login", "created_at"]
    readonly_fields = ["last_login", "created_at"]
    actions = ["renew_password"]

    @display(description="Access", label={"platform admin": "info", "active": "success", "off": "danger"})
    def access(self, user: User) -> str:
        if not user.is_active:
            return "off"
        return "platform admin" if user.is_platform_admin else "active"

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            self._give_password(request, obj)

    @admin.action(description="Make a new password and show it", permissions=["change"])
    def renew_password(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self._give_password(request, user)

    def _give_password(self, request: HttpRequest, user: User) -> None:
        password = secrets.token_urlsafe(15)
        change_password(user=user, password=password)
        self.message_user(request, f"Password of {user.email}, shown this once: {password}", messages.WARNING)


@admin.register(Membership)
class MembershipAdmin(SharedModelAdmin):
    """Outside all memberships; inside a tenant its members, added by e-mail address."""

    list_display = ["user", "tenant", "role_names", "is_active"]
    list_filter = ["is_active", ("roles", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["user__email", "user__full_name", "tenant__slug"]
    autocomplete_fields = ["user", "tenant"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        rows: QuerySet[Membership] = super().get_queryset(request).select_related("user", "tenant").prefetch_related("roles")
        tenant = request.tenant  # type: ignore[attr-defined]  # set by TenantMiddleware
        return rows if tenant is None else rows.filter(tenant=tenant)

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return [name for name in self.list_display if name != "tenant" or request.tenant is None]  # type: ignore[attr-defined]

    def get_form(self, request: HttpRequest, obj: Membership | None = None, **kwargs: Any) -> Any:
        inside = request.membership  # type: ignore[attr-defined]  # set by MembershipMiddleware
        base = super().get_form(request, obj, form=MembershipForm if inside is None else MemberForm, **kwargs)
        return type("BoundMembershipForm", (base,), {"granted_by": inside})

    def get_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        if request.tenant is None:  # type: ignore[attr-defined]
            return ["user", "tenant", "roles", "is_active"]
        return ["email", "roles"] if obj is None else ["user", "roles", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        return [] if obj is None else ["user", "tenant"]

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:
        return self.autocomplete_fields if request.tenant is None else []  # type: ignore[attr-defined]

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """Inside, members are deactivated by the form, which knows whom one may touch."""
        return request.tenant is None and super().has_delete_permission(request, obj)  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        tenant = request.tenant  # type: ignore[attr-defined]
        if not change and tenant is not None:
            membership = invite_member(tenant=tenant, email=form.cleaned_data["email"])
            obj.pk, obj.user, obj.tenant, obj._state.adding = membership.pk, membership.user, tenant, False  # noqa: SLF001  # as in TenantAdmin
        save_membership(membership=obj, roles=form.cleaned_data["roles"])

    @admin.display(description="Roles")
    def role_names(self, membership: Membership) -> str:
        return ", ".join(role.name for role in membership.roles.all())


@admin.register(Role)
class RoleAdmin(SharedModelAdmin):
    """Roles of a tenant. The built-in ones come with the platform and stay as they are."""

    form = RoleForm
    list_display = ["name", "tenant"]
    list_filter = ["tenant"]
    search_fields = ["name"]
    autocomplete_fields = ["tenant"]

    def has_change_permission(self, request: HttpRequest, obj: Role | None = None) -> bool:
        return (obj is None or obj.tenant_id is not None) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Role | None = None) -> bool:
        return obj is not None and obj.tenant_id is not None and super().has_delete_permission(request, obj)


@admin.register(ApiKey)
class ApiKeyAdmin(SharedModelAdmin):
    """Keys are made inside their tenant; the platform sees and revokes them, but cannot make itself one."""

    form = ApiKeyForm
    list_display = ["name", "tenant", "prefix", "created_by", "expires_at", "revoked_at", "last_used_at"]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        rows: QuerySet[ApiKey] = super().get_queryset(request).select_related("tenant", "created_by")
        tenant = request.tenant  # type: ignore[attr-defined]
        return rows if tenant is None else rows.filter(tenant=tenant)

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return [name for name in self.list_display if name != "tenant" or request.tenant is None]  # type: ignore[attr-defined]

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, **kwargs: Any) -> Any:
        base = super().get_form(request, obj, **kwargs)
        return type("BoundApiKeyForm", (base,), {"granted_by": request.membership})  # type: ignore[attr-defined]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        fields = ["name", "permissions", "expires_at"]
        return fields if obj is None else [*fields, "prefix", "created_by", "created_at", "revoked_at", "last_used_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return [] if obj is None else ["prefix", "created_by", "created_at", "revoked_at", "last_used_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.tenant is not None and super().has_add_permission(request)  # type: ignore[attr-defined]

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return (obj is None or request.tenant is not None) and super().has_change_permission(request, obj)  # type: ignore[attr-defined]

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            save_api_key(key=obj)
            return
        issued = issue_api_key(
            tenant=request.tenant,  # type: ignore[attr-defined]
            name=obj.name,
            permissions=obj.permissions,
            created_by=request.membership.user,  # type: ignore[attr-defined]
            expires_at=obj.expires_at,
        )
        obj.pk, obj._state.adding = issued.key.pk, False  # noqa: SLF001  # as in TenantAdmin
        self.message_user(request, _show_key(issued.secret, request.build_absolute_uri("/api/v1/devices")), messages.WARNING)

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            revoke_api_key(key=key)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("tenants.change_apikey"))


def _show_key(secret: str, url: str) -> SafeString:
    code = '<code class="block break-words mt-3">{}</code>'
    return format_html(
        f'Copy the key now, it is shown this once: {code}<span class="block mt-3">Try it:</span>{code}',
        secret,
        f'curl {url} -H "Authorization: Bearer {secret}"',
    )


@admin.register(TokenFamily)
class TokenFamilyAdmin(ReadOnlyMixin, SharedModelAdmin):
    """Logins through the API."""

    list_display = ["user", "created_at", "last_used_at", "expires_at", "revoked_at"]
    search_fields = ["user__email"]
    actions = ["end"]

    @admin.action(description="End these logins", permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[TokenFamily]) -> None:
        for family in queryset:
            revoke_family(family_id=family.pk, now=timezone.now())

    def has_end_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("tenants.change_tokenfamily"))
