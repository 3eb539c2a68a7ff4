"""CRUD of rules; enabling and disabling."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.views import PlantViewSet
from rules import services
from rules.api.filters import RuleFilter
from rules.api.serializers import RuleSerializer
from rules.models import Rule

EXAMPLE = OpenApiExample(
    "Hot motor",
    {
        "name": "Motor too hot",
        "severity": "high",
        "condition": {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80, "clear_threshold": 75},
        "device_type": "7b0c2a52-9a2f-4c57-8a80-6d1df8a3a2f1",
    },
    request_only=True,
)


@extend_schema_view(create=extend_schema(examples=[EXAMPLE]))
class RuleViewSet(PlantViewSet):
    """Conditions on readings. Without device, type and site a rule is about the whole tenant; several of them must all match."""

    permission_resource = "rule"
    queryset = Rule.objects.select_related("device", "device_type", "site")
    serializer_class = RuleSerializer
    filterset_class = RuleFilter
    lookup_field = "pk"
    lock_name = services.RULES_LOCK
    search_fields = ["name", "description"]
    ordering_fields = ["name", "severity", "created_at", "updated_at"]

    def save(self, instance: Rule) -> None:
        services.save_rule(rule=instance, now=timezone.now())

    def perform_destroy(self, instance: Rule) -> None:
        services.delete_rule(rule_id=instance.pk, now=timezone.now())

    @extend_schema(request=None, responses=RuleSerializer)
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, id: str) -> Response:
        """Evaluate the rule from now on, the latest readings included."""
        return self._set_enabled(is_enabled=True)

    @extend_schema(request=None, responses=RuleSerializer)
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, id: str) -> Response:
        """Stop evaluating; what the rule has firing is withdrawn."""
        return self._set_enabled(is_enabled=False)

    def _set_enabled(self, *, is_enabled: bool) -> Response:
        rule: Any = self.get_object()
        services.set_rule_enabled(rule_id=rule.pk, is_enabled=is_enabled, now=timezone.now())
        return Response(self.get_serializer(self.get_object()).data)
