"""`/health`, `/health/live`, `/health/ready` below `/api/v1/`; at the root they are answered by the middleware."""

from drf_spectacular.utils import OpenApiExample, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from iiot_site.health import describe_health

_HEALTH = inline_serializer(
    "Health",
    {
        "status": serializers.ChoiceField(["ok", "failed"]),
        "checks": serializers.DictField(
            child=inline_serializer(
                "HealthCheck",
                {
                    "status": serializers.ChoiceField(["ok", "off", "failed"]),
                    "detail": serializers.CharField(),
                    "ms": serializers.IntegerField(),
                },
            )
        ),
    },
)
_EXAMPLE = OpenApiExample(
    "All is well",
    {
        "status": "ok",
        "checks": {"postgres": {"status": "ok", "detail": "", "ms": 3}, "amqp": {"status": "off", "detail": "Run …", "ms": 0}},
    },
)


class _OpenView(APIView):
    """Asked by load balancers and people without an account."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class HealthView(_OpenView):
    """Every dependency by name. 503 as soon as one that is needed has failed; `off` ones are not needed."""

    @extend_schema(tags=["health"], auth=[], responses={200: _HEALTH, 503: _HEALTH}, examples=[_EXAMPLE])
    def get(self, request: Request) -> Response:
        is_well, described = describe_health()
        return Response(described, status=200 if is_well else 503)


class LiveView(_OpenView):
    """The web process answers; nothing else is asked."""

    @extend_schema(tags=["health"], auth=[], responses=inline_serializer("Alive", {"status": serializers.CharField()}))
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})
