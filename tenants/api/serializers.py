"""Shapes of logins and tenants in the API."""

from rest_framework import serializers

from iiot_site.lib.serializers import StrictModelSerializer, StrictSerializer
from tenants.models import Tenant, User, validate_slug


class UserSerializer(StrictModelSerializer):
    class Meta:
        model = User
        fields = ["id", "email", "full_name", "is_platform_admin"]
        read_only_fields = fields


class TenantRefSerializer(StrictModelSerializer):
    class Meta:
        model = Tenant
        fields = ["id", "slug", "name"]
        read_only_fields = fields


class LoginSerializer(StrictSerializer):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=256, trim_whitespace=False, style={"input_type": "password"})
    tenant = serializers.CharField(
        max_length=40, required=False, help_text="Slug. Left out: the only tenant, or the first one by name of several."
    )


class RefreshSerializer(StrictSerializer):
    refresh = serializers.CharField(max_length=4096)


class TokensSerializer(StrictSerializer):
    access = serializers.CharField(help_text="For `Authorization: Bearer …`; good for 15 minutes.")
    refresh = serializers.CharField(help_text="For /auth/refresh, once; good for 7 days.")


class LoggedInSerializer(TokensSerializer):
    user = UserSerializer()
    tenant = TenantRefSerializer(allow_null=True, help_text="Where the tokens are good for; null: no tenant.")
    tenants = TenantRefSerializer(many=True, help_text="Where the person may go.")


class MeSerializer(StrictSerializer):
    user = UserSerializer()
    tenant = TenantRefSerializer(allow_null=True)
    roles = serializers.ListField(child=serializers.CharField())
    permissions = serializers.ListField(child=serializers.CharField(), help_text="`resource:action`, `*` or `*:read`.")
    tenants = TenantRefSerializer(many=True)


class ProgressSerializer(StrictSerializer):
    step = serializers.CharField(required=False, help_text="The migration at work, or `ready`.")
    done = serializers.IntegerField(required=False)
    total = serializers.IntegerField(required=False)
    error = serializers.CharField(required=False)


class TenantSerializer(StrictModelSerializer):
    slug = serializers.CharField(max_length=40, validators=[validate_slug], help_text="Part of every address and topic; cannot be changed.")
    status = serializers.ChoiceField(choices=Tenant.Status.choices, read_only=True)
    progress = ProgressSerializer(read_only=True)

    class Meta:
        model = Tenant
        fields = ["id", "slug", "name", "status", "progress", "created_at"]
        read_only_fields = ["created_at"]
