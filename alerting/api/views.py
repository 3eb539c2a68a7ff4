"""Alerts to read; incidents to read and to work on. A command answers with the incident as it is afterwards."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from alerting import services
from alerting.api.filters import AlertFilter, IncidentFilter
from alerting.api.serializers import (
    AlertSerializer,
    AssignSerializer,
    CommandSerializer,
    IncidentSerializer,
    NoteSerializer,
    TimelineSerializer,
)
from alerting.models import Alert, Incident
from alerting.selectors import list_alerts, list_incidents, list_timeline
from iiot_site.lib.routers import UUID_PATTERN

Command = TypeVar("Command", bound=Callable[..., Response])


def command(serializer: type[BaseSerializer[Any]], example: dict[str, Any]) -> Callable[[Command], Command]:
    """Describe a command in the OpenAPI schema."""
    request_example = OpenApiExample("Request", example, request_only=True)
    describe: Callable[[Command], Command] = extend_schema(request=serializer, responses=IncidentSerializer, examples=[request_example])
    return describe


class AlertViewSet(ReadOnlyModelViewSet[Alert]):
    """Signals that something is or was wrong, newest first. To act, act on the alert's incident."""

    permission_resource = "alert"
    queryset = list_alerts()
    serializer_class = AlertSerializer
    lookup_url_kwarg = "id"
    lookup_value_regex = UUID_PATTERN
    filterset_class = AlertFilter
    search_fields = ["summary", "device__name", "device__key"]
    ordering_fields = ["occurred_at", "received_at", "resolved_at"]


class IncidentViewSet(ReadOnlyModelViewSet[Incident]):
    """What people work on, newest first."""

    permission_resource = "incident"
    queryset = list_incidents()
    serializer_class = IncidentSerializer
    lookup_url_kwarg = "id"
    lookup_value_regex = UUID_PATTERN
    filterset_class = IncidentFilter
    search_fields = ["title", "device__name", "device__key", "=number"]
    ordering_fields = ["number", "opened_at"]

    @command(CommandSerializer, {"note": "On my way."})
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, id: str) -> Response:
        """Say that somebody takes care."""
        return self._transition(request, "acknowledge")

    @command(CommandSerializer, {"note": "The bearing is hot."})
    @action(detail=True, methods=["post"])
    def investigate(self, request: Request, id: str) -> Response:
        """Say that work has begun; acknowledges as well."""
        return self._transition(request, "investigate")

    @command(CommandSerializer, {"note": "Bearing greased."})
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, id: str) -> Response:
        """Say that the work is done. It does not come back by itself; a new signal opens a new incident."""
        return self._transition(request, "resolve")

    @command(CommandSerializer, {"note": "Still rattling."})
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, id: str) -> Response:
        """Take up a resolved incident again."""
        return self._transition(request, "reopen")

    @command(AssignSerializer, {"assignee": "5d0f2b0e-4f0c-4a57-9b7e-0f7f3f1f5b11"})
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, id: str) -> Response:
        """Give the incident to a member of the tenant, or to nobody."""
        incident = services.assign_incident(
            incident_id=self.get_object().pk, now=timezone.now(), **self._read(AssignSerializer, request), **self._actor(request)
        )
        return self._answer(incident)

    @command(NoteSerializer, {"text": "Ordered a new bearing."})
    @action(detail=True, methods=["post"])
    def notes(self, request: Request, id: str) -> Response:
        """Write into the timeline."""
        text = self._read(NoteSerializer, request)["text"]
        incident = services.add_note(incident_id=self.get_object().pk, text=text, now=timezone.now(), **self._actor(request))
        return self._answer(incident)

    @extend_schema(responses=TimelineSerializer(many=True))
    @action(detail=True, methods=["get"], filterset_class=None, search_fields=[], ordering_fields=["at"])
    def timeline(self, request: Request, id: str) -> Response:
        """What happened, when, and who did it; oldest first."""
        events: Any = list_timeline(self.get_object().pk)
        page: Any = self.paginate_queryset(events)
        return self.get_paginated_response(TimelineSerializer(page, many=True).data)

    def _transition(self, request: Request, name: str) -> Response:
        note = self._read(CommandSerializer, request)["note"]
        incident = services.transition_incident(
            incident_id=self.get_object().pk, action=name, note=note, now=timezone.now(), **self._actor(request)
        )
        return self._answer(incident)

    def _answer(self, incident: Incident) -> Response:
        return Response(IncidentSerializer(list_incidents().get(pk=incident.pk)).data)

    @staticmethod
    def _read(serializer_class: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
        serializer = serializer_class(data=request.data)
        serializer.is_valid(raise_exception=True)
        validated: dict[str, Any] = serializer.validated_data
        return validated

    @staticmethod
    def _actor(request: Request) -> dict[str, Any]:
        principal = request.principal  # type: ignore[attr-defined]  # set by the authentication
        if principal.user is not None:
            return {"actor": principal.user}
        return {"actor": None, "actor_name": f"API key {principal.name}"}
