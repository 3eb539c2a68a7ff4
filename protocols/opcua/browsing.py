"""Looks around in a plant's server, for somebody who maps its nodes: one level at a time, within seconds.

Source: OPC 10000-4 §5.9 (Browse, BrowseNext).
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError
from django.conf import settings

from connections.opcua_types import OpcUaTarget
from protocols.opcua.client import Offer, PlantClient, list_offers, open_session
from protocols.opcua.errors import OpcUaError, UnreachableError
from protocols.opcua.identity import Identity, load_identity
from protocols.opcua.node_ids import UnknownNodeError, format_node_id, parse_node_id
from protocols.opcua.values import LastValue, Scalar, Scaling, quality_of, read_data_value

BROWSE_SECONDS = 5.0
NODES_SHOWN = 500
VALUES_SHOWN = 200
OBJECTS = "i=85"
PREVIEW_LENGTH = 60
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BrowsedNode:
    """A node below the one that was asked for. `value` and `quality` are those of the moment, of variables only.

    `is_telemetry` says whether its present value could be stored.
    """

    node_id: str
    name: str
    is_variable: bool
    data_type: str = ""
    value: str = ""
    quality: int = 0
    is_telemetry: bool = False


@dataclass(frozen=True, slots=True)
class BrowsedLevel:
    """What stands below a node; `is_cut` where there is more than is shown."""

    nodes: Sequence[BrowsedNode]
    is_cut: bool


def platform_identity() -> Identity:
    """Return the platform's certificate and key from the data folder."""
    return load_identity(Path(settings.IIOT_DATA_DIR) / "opcua")


def browse_server(target: OpcUaTarget, *, node_id: str = OBJECTS) -> BrowsedLevel:
    """Return what stands below a node. Connects for this one question and lets go again.

    Raises:
        OutsidePlantError, OpcUaError: the server cannot be asked, or does not answer in time.
    """
    return _run(_browse(target, node_id or OBJECTS), target.endpoint_url)


def ask_offers(url: str) -> list[Offer]:
    """Return how a server lets clients in, and the certificate that it shows.

    Raises:
        OutsidePlantError, OpcUaError: the server cannot be asked, or does not answer in time.
    """
    return _run(list_offers(url, identity=platform_identity(), networks=settings.IIOT_PLANT_NETWORKS), url)


def _run(work: Coroutine[Any, Any, T], url: str) -> T:
    async def within_time() -> T:
        async with asyncio.timeout(BROWSE_SECONDS):
            return await work

    try:
        return asyncio.run(within_time())
    except TimeoutError as exc:
        raise UnreachableError(
            f"{url} did not answer within {BROWSE_SECONDS:.0f} s. Is it running, and does a firewall let us through?"
        ) from exc


async def _browse(target: OpcUaTarget, node_id: str) -> BrowsedLevel:
    identity = platform_identity()
    async with open_session(target, identity=identity, networks=settings.IIOT_PLANT_NETWORKS, timeout_seconds=BROWSE_SECONDS) as client:
        try:
            namespaces = await client.get_namespace_array()
            found, is_cut = await _list_references(client, parse_node_id(node_id, namespaces))
            values = await _read_values(client, [r.NodeId for r in found if r.NodeClass == ua.NodeClass.Variable][:VALUES_SHOWN])
        except UnknownNodeError as exc:
            raise OpcUaError(str(exc)) from exc
        except UaError as exc:
            raise OpcUaError(f"The server refused to be browsed: {type(exc).__name__}.") from exc
    nodes = [_make_node(reference, values.get(reference.NodeId), namespaces) for reference in found]
    return BrowsedLevel(sorted(nodes, key=lambda node: (node.is_variable, node.name.lower())), is_cut)


async def _list_references(client: PlantClient, node_id: ua.NodeId) -> tuple[list[ua.ReferenceDescription], bool]:
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = ua.BrowseDirection.Forward
    description.ReferenceTypeId = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
    description.IncludeSubtypes = True
    description.NodeClassMask = ua.UInt32(ua.NodeClass.Object | ua.NodeClass.Variable)
    description.ResultMask = ua.UInt32(ua.BrowseResultMask.All)
    parameters = ua.BrowseParameters()
    parameters.View = ua.ViewDescription()
    parameters.RequestedMaxReferencesPerNode = ua.Counter(NODES_SHOWN)
    parameters.NodesToBrowse = [description]
    session = client.uaclient.session
    [result] = await session.browse(parameters)
    result.StatusCode.check()
    references = list(result.References or [])
    while result.ContinuationPoint and len(references) < NODES_SHOWN:
        following = ua.BrowseNextParameters()
        following.ContinuationPoints = [result.ContinuationPoint]
        [result] = await session.browse_next(following)
        result.StatusCode.check()
        references += result.References or []
    unique = list({reference.NodeId: reference for reference in references}.values())
    return unique[:NODES_SHOWN], bool(result.ContinuationPoint) or len(unique) > NODES_SHOWN


async def _read_values(client: PlantClient, node_ids: Sequence[ua.NodeId]) -> dict[ua.NodeId, ua.DataValue]:
    if not node_ids:
        return {}
    values = await client.uaclient.session.read_attributes(list(node_ids), AttributeIds.Value)
    return dict(zip(node_ids, values, strict=False))


def _make_node(reference: ua.ReferenceDescription, data: ua.DataValue | None, namespaces: Sequence[str]) -> BrowsedNode:
    name = (reference.DisplayName.Text if reference.DisplayName else "") or reference.BrowseName.Name or "?"
    node_id = format_node_id(reference.NodeId, namespaces)
    if reference.NodeClass != ua.NodeClass.Variable:
        return BrowsedNode(node_id, name, is_variable=False)
    if data is None:
        return BrowsedNode(node_id, name, is_variable=True)
    read = read_data_value(data, metric="", scaling=Scaling(), last=LastValue(None, None), received_at=datetime.now(UTC))
    kind = getattr(data.Value.VariantType, "name", "") if data.Value is not None else ""
    return BrowsedNode(
        node_id,
        name,
        is_variable=True,
        data_type=str(kind),
        value=_preview(read.value),
        quality=quality_of(data.StatusCode),
        is_telemetry=read.is_plain,
    )


def _preview(value: Scalar | list[str] | None) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return value[0]
        case float():
            return f"{value:.6g}"
    return str(value)[:PREVIEW_LENGTH]
