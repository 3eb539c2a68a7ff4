"""CRUD of OPC UA servers and of the nodes that are mapped."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from connections import opcua_services as services
from connections.api.filters import OpcUaNodeFilter
from connections.api.opcua_serializers import OpcUaNodeSerializer, OpcUaServerSerializer, TrustSerializer
from connections.opcua_models import OpcUaNode, OpcUaServer
from devices.api.views import PlantViewSet, example


@extend_schema_view(
    create=example(
        "A controller that wants a login",
        {
            "name": "Filler PLC",
            "endpoint_url": "opc.tcp://10.0.4.17:4840",
            "security": "Basic256Sha256",
            "authentication": "password",
            "username": "platform",
            "password": "a long one",
            "publishing_interval_seconds": 0.5,
        },
    )
)
class OpcUaServerViewSet(PlantViewSet):
    """Servers of the plant that the platform reads, and how that goes."""

    permission_resource = "connection"
    queryset = OpcUaServer.objects.all()
    serializer_class = OpcUaServerSerializer
    filterset_fields = ["state", "is_enabled", "security"]
    search_fields = ["name", "endpoint_url"]
    ordering_fields = ["name", "state", "heard_at"]

    def save(self, instance: OpcUaServer) -> None:
        password: str | None = instance.__dict__.pop("password", None)
        services.save_opcua_server(server=instance, password=password)

    def perform_destroy(self, instance: OpcUaServer) -> None:
        services.delete_opcua_server(server=instance)

    @extend_schema(request=TrustSerializer, responses=OpcUaServerSerializer)
    @action(detail=True, methods=["post"])
    def trust(self, request: Request, **_: Any) -> Response:
        """Accept the certificate that the server showed; from then on it must show this one."""
        server = self.get_object()
        wanted = TrustSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        server = services.trust_certificate(server=server, fingerprint=wanted.validated_data["fingerprint"])
        return Response(self.get_serializer(server).data)


@extend_schema_view(
    create=example(
        "A node as a metric",
        {"node_id": "nsu=http://plc.example/;s=Temperature", "device": "0f8fad5b-d9cb-469f-a165-70867728950e", "metric": "temperature"},
    )
)
class OpcUaNodeViewSet(PlantViewSet):
    """Which node of a server is which metric of which device."""

    permission_resource = "connection"
    queryset = OpcUaNode.objects.select_related("device").order_by("device__name", "metric", "id")
    serializer_class = OpcUaNodeSerializer
    filterset_class = OpcUaNodeFilter
    search_fields = ["node_id", "metric", "device__name"]
    ordering_fields = ["metric", "node_id"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self._server = get_object_or_404(OpcUaServer, uuid=kwargs["server_id"])

    def get_queryset(self) -> QuerySet[OpcUaNode]:
        nodes: QuerySet[OpcUaNode] = super().get_queryset()
        return nodes.filter(server=self._server) if hasattr(self, "_server") else nodes.none()

    def save(self, instance: OpcUaNode) -> None:
        instance.server = self._server
        services.save_opcua_node(node=instance)

    def perform_destroy(self, instance: OpcUaNode) -> None:
        services.delete_opcua_node(node=instance)
