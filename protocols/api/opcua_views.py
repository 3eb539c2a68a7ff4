"""Looking at a plant's OPC UA server before it is mapped: how it lets clients in, and what nodes it has."""

from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from connections.certificates import fingerprint_of
from connections.opcua_models import OpcUaServer
from connections.opcua_selectors import make_target
from connections.opcua_services import offer_certificate
from iiot_site.lib.turns import count_as_long, give_back_connection
from protocols.errors import InvalidShapeError
from protocols.opcua.browsing import BrowsedLevel, BrowsedNode, ask_offers, browse_server
from protocols.opcua.client import Offer
from telemetry.qualities import QUALITY_NAMES

MAX_NODE_ID_LENGTH = 400


class OfferSerializer(serializers.Serializer[Any]):
    security = serializers.CharField()
    mode = serializers.CharField(help_text="Sign, SignAndEncrypt or None.")
    authentications = serializers.ListField(child=serializers.CharField())
    fingerprint = serializers.SerializerMethodField(help_text="SHA-256 of the certificate; `trust` accepts it.")

    def get_fingerprint(self, offer: Offer) -> str:
        return fingerprint_of(offer.certificate)


class BrowsedNodeSerializer(serializers.Serializer[BrowsedNode]):
    node_id = serializers.CharField(help_text="To map it, or to look below it.")
    name = serializers.CharField()
    is_variable = serializers.BooleanField()
    data_type = serializers.CharField()
    value = serializers.CharField(help_text="The beginning of the present value, as text.")
    quality = serializers.SerializerMethodField()
    is_telemetry = serializers.BooleanField(help_text="Whether the present value could be stored.")

    def get_quality(self, node: BrowsedNode) -> str:
        return QUALITY_NAMES[node.quality]


class BrowsedLevelSerializer(serializers.Serializer[Any]):
    nodes = BrowsedNodeSerializer(many=True)
    is_cut = serializers.BooleanField(help_text="There are more nodes than these.")


class OpcUaCheckView(APIView):
    """Asks a server how it lets clients in; its certificate is then offered to be accepted."""

    required_permissions = {"POST": "connection:write"}

    @extend_schema(
        operation_id="protocols_opcua_servers_check",
        request=None,
        responses=OfferSerializer(many=True),
        examples=[
            OpenApiExample(
                "A server with one secure endpoint",
                [{"security": "Basic256Sha256", "mode": "SignAndEncrypt", "authentications": ["UserName"], "fingerprint": "AB:CD:…"}],
                response_only=True,
            )
        ],
    )
    def post(self, request: Request, server_id: str) -> Response:
        """Ask now; 502 where the server does not answer within 5 s."""
        server = get_object_or_404(OpcUaServer, uuid=server_id)
        return Response(OfferSerializer(check_server(request, server), many=True).data)


class OpcUaBrowseView(APIView):
    """What stands below a node of a server."""

    required_permissions = {"GET": "connection:write"}

    @extend_schema(
        operation_id="protocols_opcua_servers_browse",
        parameters=[OpenApiParameter("node", str, description="A `node_id` of an earlier answer; left out: the folder Objects.")],
        responses=BrowsedLevelSerializer,
    )
    def get(self, request: Request, server_id: str) -> Response:
        """Connect, look and let go; 502 where the server does not answer within 5 s."""
        server = get_object_or_404(OpcUaServer, uuid=server_id)
        node_id = request.query_params.get("node", "")
        if len(node_id) > MAX_NODE_ID_LENGTH:
            raise InvalidShapeError("That is no node id; send one of an earlier answer.")
        return Response(BrowsedLevelSerializer(look_below(request, server, node_id=node_id)).data)


def look_below(request: Request | HttpRequest, server: OpcUaServer, *, node_id: str) -> BrowsedLevel:
    """Return what stands below a node now. The plant may take its time: it is one of the tenant's few long requests."""
    count_as_long(request)
    target = make_target(server)
    give_back_connection()
    return browse_server(target, node_id=node_id)


def check_server(request: Request | HttpRequest, server: OpcUaServer) -> list[Offer]:
    """Ask a server how it lets clients in, and note the certificate of the chosen security for somebody to accept."""
    count_as_long(request)
    give_back_connection()
    offers = ask_offers(server.endpoint_url)
    chosen = next((offer for offer in offers if offer.security == server.security and offer.certificate), None)
    if chosen is not None:
        offer_certificate(server=server, certificate=chosen.certificate)
    return offers
