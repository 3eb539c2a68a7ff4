"""Logging in and out with tokens, going to another tenant, and the platform admin's tenants."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import mixins, status
from rest_framework.exceptions import Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from tenants.api.permissions import IsPerson, IsPlatformAdmin
from tenants.api.serializers import (
    LoggedInSerializer,
    LoginSerializer,
    MeSerializer,
    RefreshSerializer,
    TenantSerializer,
    TokensSerializer,
)
from tenants.errors import LoginFailedError, TenantNotFoundError, TooManyAttemptsError
from tenants.login import check_login, count_failed_login
from tenants.models import Tenant, User
from tenants.selectors import list_memberships
from tenants.services import create_tenant, record_login
from tenants.tokens import end_login, issue_tokens, rotate_tokens, switch_tokens
from tenants.types import IssuedTokens, TokenHolder

_USER = {
    "id": "0b6cf3a4-0c5e-4b25-9a4e-1f2b0f6c1d11",
    "email": "operator@acme.example",
    "full_name": "Olga Berg",
    "is_platform_admin": False,
}
_TENANT = {"id": "f6d2f0f5-33c4-44ad-b5b7-8f4d6fbd0a11", "slug": "acme", "name": "Acme Pumps"}
_TOKENS = {"access": "eyJhbGciOiJIUzI1NiIs…", "refresh": "eyJhbGciOiJIUzI1NiIs…"}
_LOGGED_IN = OpenApiExample("Logged in", {**_TOKENS, "user": _USER, "tenant": _TENANT, "tenants": [_TENANT]}, response_only=True)


def _logged_in(tokens: IssuedTokens, user: User, tenant: Tenant | None, tenants: list[Tenant]) -> Response:
    answer = {"access": tokens.access, "refresh": tokens.refresh, "user": user, "tenant": tenant, "tenants": tenants}
    return Response(LoggedInSerializer(answer).data)


class LoginView(APIView):
    """Log in with e-mail address and password. Five failures a minute per address and account."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="auth_login",
        request=LoginSerializer,
        responses=LoggedInSerializer,
        auth=[],
        examples=[
            OpenApiExample("Log in", {"email": "operator@acme.example", "password": "…", "tenant": "acme"}, request_only=True),
            _LOGGED_IN,
        ],
    )
    def post(self, request: Request) -> Response:
        shape = LoginSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        wanted = shape.validated_data
        http_request = request._request  # noqa: SLF001  # the limits want Django's request
        now = timezone.now()
        try:
            user = check_login(request=http_request, email=wanted["email"], password=wanted["password"], now=now)
        except TooManyAttemptsError as exc:
            raise Throttled(wait=exc.retry_after_seconds) from exc
        tenants = [membership.tenant for membership in list_memberships(user)]
        slug = wanted.get("tenant")
        tenant = next((tenant for tenant in tenants if slug in {None, tenant.slug}), None)
        if slug is not None and tenant is None:
            count_failed_login(request=http_request, email=wanted["email"], now=now)
            raise LoginFailedError("You are no member of this tenant, or there is none of that name.")
        record_login(user=user, now=now)
        return _logged_in(issue_tokens(user=user, tenant=tenant, now=now), user, tenant, tenants)


class RefreshView(APIView):
    """Exchange a refresh token for a new pair. Each works once; a second use ends the whole login."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="auth_refresh",
        request=RefreshSerializer,
        responses=TokensSerializer,
        auth=[],
        examples=[
            OpenApiExample("Refresh", {"refresh": _TOKENS["refresh"]}, request_only=True),
            OpenApiExample("New tokens", _TOKENS, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        shape = RefreshSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        tokens = rotate_tokens(raw=shape.validated_data["refresh"], now=timezone.now())
        return Response({"access": tokens.access, "refresh": tokens.refresh})


class LogoutView(APIView):
    """End the login that a refresh token belongs to. Answers the same for a token that is good for nothing."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="auth_logout",
        request=RefreshSerializer,
        responses={204: None},
        auth=[],
        examples=[OpenApiExample("Log out", {"refresh": _TOKENS["refresh"]}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        shape = RefreshSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        end_login(raw=shape.validated_data["refresh"], now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeView(APIView):
    """Who the caller is, and what they may do in the request's tenant."""

    permission_classes = (IsPerson,)

    @extend_schema(
        operation_id="auth_me",
        responses=MeSerializer,
        examples=[
            OpenApiExample(
                "An operator",
                {"user": _USER, "tenant": _TENANT, "roles": ["operator"], "permissions": ["device:read", "…"], "tenants": [_TENANT]},
                response_only=True,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        principal, membership = request.principal, request.membership  # type: ignore[attr-defined]  # set by our authentication
        answer = {
            "user": principal.user,
            "tenant": request.tenant,  # type: ignore[attr-defined]
            "roles": sorted(role.name for role in membership.roles.all()) if membership else [],
            "permissions": sorted(principal.permissions),
            "tenants": [other.tenant for other in list_memberships(principal.user)],
        }
        return Response(MeSerializer(answer).data)


class SwitchView(APIView):
    """Get tokens for another of the caller's tenants. They take the place of the login's former refresh token."""

    permission_classes = (IsPerson,)

    @extend_schema(operation_id="tenants_switch", request=None, responses=LoggedInSerializer, examples=[_LOGGED_IN])
    def post(self, request: Request, tenant_id: str) -> Response:
        user = request.principal.user  # type: ignore[attr-defined]  # set by our authentication
        tenants = [membership.tenant for membership in list_memberships(user)]
        tenant = next((tenant for tenant in tenants if tenant.pk == uuid.UUID(tenant_id)), None)
        if tenant is None:
            raise TenantNotFoundError("Not found.")
        now = timezone.now()
        if isinstance(request.auth, TokenHolder):
            tokens = switch_tokens(family_id=request.auth.family_id, tenant=tenant, now=now)
        else:  # the browser's session
            tokens = issue_tokens(user=user, tenant=tenant, now=now)
        return _logged_in(tokens, user, tenant, tenants)


_NEW_TENANT = OpenApiExample("A new tenant", {"slug": "acme", "name": "Acme Pumps"}, request_only=True)
_CREATING = OpenApiExample(
    "Being created",
    {
        **_TENANT,
        "status": "creating",
        "progress": {"step": "devices.0001_initial", "done": 2, "total": 5, "error": ""},
        "created_at": "2026-11-21T08:00:00Z",
    },
    response_only=True,
)


class TenantViewSet(mixins.CreateModelMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Tenant]):
    """All tenants, for platform admins. A new one is created in the background; `status` and `progress` tell how far it is."""

    permission_classes = (IsPlatformAdmin,)
    serializer_class = TenantSerializer
    filterset_fields = ("status",)
    search_fields = ("slug", "name")
    ordering_fields = ("slug", "name", "created_at")

    def get_queryset(self) -> QuerySet[Tenant]:
        tenants: QuerySet[Tenant] = Tenant.objects.order_by("name", "slug")
        return tenants

    @extend_schema(examples=[_NEW_TENANT, _CREATING])
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().create(request, *args, **kwargs)

    def perform_create(self, serializer: BaseSerializer[Tenant]) -> None:
        serializer.instance = create_tenant(slug=serializer.validated_data["slug"], name=serializer.validated_data["name"])
