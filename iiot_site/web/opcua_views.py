"""Pages of OPC UA servers: the list, and one server with its certificate, its mapped nodes and what else it has."""

import uuid

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import delete_opcua_node, offer_certificate, save_opcua_node, trust_certificate
from devices.models import Device, Metric
from iiot_site.lib.errors import IIoTError
from iiot_site.lib.page_parts import render_part
from protocols.api.opcua_views import MAX_NODE_ID_LENGTH, check_server, look_below
from protocols.opcua.errors import CertificateNotTrustedError
from telemetry.models import LatestReading
from tenants.page_access import page
from tenants.permissions import allows

PAGE_SIZE = 50
DEVICES_SHOWN = 500


@page("connection:read")
@require_GET
def show_servers(request: HttpRequest) -> HttpResponse:
    """The servers and how they do; an htmx request gets the list alone."""
    servers = OpcUaServer.objects.annotate(node_count=Count("nodes"), problem_count=Count("nodes", filter=~Q(nodes__problem="")))
    return render_part(request, whole="opcua/servers.html", part="opcua/_servers.html", context={"servers": servers.order_by("name")})


@page("connection:read")
@require_GET
def show_server(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """One server; an htmx request gets its state and mappings alone."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    nodes = OpcUaNode.objects.filter(server=server).select_related("device").order_by("device__name", "metric", "id")
    found = Paginator(nodes, PAGE_SIZE).get_page(request.GET.get("page"))
    latest = _load_latest(list(found)) if allows(request.membership.permissions, "telemetry:read") else {}  # type: ignore[attr-defined]  # set by the middleware
    context = {"server": server, "mappings": found, "rows": [(node, latest.get((node.device_id, node.metric))) for node in found]}
    return render_part(request, whole="opcua/server.html", part="opcua/_server.html", context=context)


def _load_latest(nodes: list[OpcUaNode]) -> dict[tuple[int, str], LatestReading]:
    rows = LatestReading.objects.filter(
        device_id__in={node.device_id for node in nodes}, metric__key__in={node.metric for node in nodes}
    ).select_related("metric")
    return {(row.device_id, row.metric.key): row for row in rows}


@page("connection:write")
@require_GET
def browse(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """One level of the server's tree, or why there is none. Takes up to 5 s."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    context: dict[str, object] = {"server": server}
    try:
        context["level"] = look_below(request, server, node_id=_node_id(request.GET.get("node", "")))
        mapped = OpcUaNode.objects.filter(server=server, node_id__in=[node.node_id for node in context["level"].nodes])  # type: ignore[attr-defined]  # as just set
        context["mapped"] = {node.node_id: node for node in mapped.select_related("device")}
    except CertificateNotTrustedError as exc:
        offer_certificate(server=server, certificate=exc.certificate)
        context["is_untrusted"] = True
    except IIoTError as exc:
        context["error"] = exc.detail
    return render(request, "opcua/_tree.html", context)


@page("connection:write")
@require_GET
def show_pick(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """The form that maps a node of the tree."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    node = OpcUaNode(server=server, node_id=_node_id(request.GET.get("node", "")))
    return _render_pick(request, node, name=request.GET.get("name", "").replace("\0", "")[:64])


@page("connection:write")
@require_POST
def map_node(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """Map a node; the form comes back with what is wrong, or empty with what was done."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    node = OpcUaNode(server=server, node_id=_node_id(request.POST.get("node", "")), metric=request.POST.get("metric", "").strip())
    try:
        node.device = Device.objects.get(uuid=request.POST.get("device", ""))
        node.command = request.POST.get("command", "").strip()
        node.scale, node.offset = float(request.POST.get("scale") or 1), float(request.POST.get("offset") or 0)
        save_opcua_node(node=node)
    except (Device.DoesNotExist, ValueError):
        return _render_pick(request, node, name=node.metric, error="Choose a device, and write scale and offset as numbers.")
    except ValidationError as exc:
        return _render_pick(request, node, name=node.metric, error=" ".join(exc.messages))
    except IIoTError as exc:
        return _render_pick(request, node, name=node.metric, error=exc.detail)
    response = render(request, "opcua/_picked.html", {"node": node})
    response["HX-Trigger"] = "mapped"
    return response


@page("connection:write")
@require_POST
def unmap_node(request: HttpRequest, server_id: uuid.UUID, mapping_id: uuid.UUID) -> HttpResponse:
    """Read a node no longer."""
    delete_opcua_node(node=get_object_or_404(OpcUaNode, uuid=mapping_id, server__uuid=server_id))
    return _back(request, server_id)


@page("connection:write")
@require_POST
def trust(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """Accept the certificate whose fingerprint the form showed."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    try:
        trust_certificate(server=server, fingerprint=request.POST.get("fingerprint", ""))
    except IIoTError as exc:
        return render(request, "opcua/_note.html", {"error": exc.detail})
    return _back(request, server_id)


@page("connection:write")
@require_POST
def check(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    """Ask the server how it lets clients in. Takes up to 5 s."""
    server = get_object_or_404(OpcUaServer, uuid=server_id)
    try:
        return render(request, "opcua/_note.html", {"server": server, "offers": check_server(request, server)})
    except IIoTError as exc:
        return render(request, "opcua/_note.html", {"error": exc.detail})


def _render_pick(request: HttpRequest, node: OpcUaNode, *, name: str, error: str = "") -> HttpResponse:
    context = {
        "node": node,
        "name": name,
        "error": error,
        "server": node.server,
        "devices": Device.objects.order_by("name", "id")[:DEVICES_SHOWN],
        "metrics": Metric.objects.order_by("key").values_list("key", flat=True).distinct()[:DEVICES_SHOWN],
        "chosen": {
            "device": request.POST.get("device", ""),
            "scale": request.POST.get("scale", "1"),
            "offset": request.POST.get("offset", "0"),
            "command": request.POST.get("command", ""),
        },
    }
    return render(request, "opcua/_pick.html", context)


def _node_id(text: str) -> str:
    return text.replace("\0", "")[:MAX_NODE_ID_LENGTH]


def _back(request: HttpRequest, server_id: uuid.UUID) -> HttpResponse:
    if getattr(request, "htmx", False):
        response = HttpResponse(status=204)
        response["HX-Trigger"] = "mapped"
        return response
    return redirect("opcua-server", server_id)
