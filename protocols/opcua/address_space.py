"""The nodes of tenants that have somebody logged in, kept as the plan and the latest values say."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.server.internal_server import InternalServer
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from protocols.opcua.command_nodes import CommandInput
from protocols.opcua.plant_reading import NodeValueRow
from protocols.opcua.tree import ROOT, PlannedNode

NODES_AT_ONCE = 200
_STATUS = (StatusCodes.Good, StatusCodes.Uncertain, StatusCodes.Bad)
_TYPES = {
    "number": (ObjectIds.Double, ua.VariantType.Double),
    "integer": (ObjectIds.Int64, ua.VariantType.Int64),
    "boolean": (ObjectIds.Boolean, ua.VariantType.Boolean),
    "text": (ObjectIds.String, ua.VariantType.String),
}


@dataclass(slots=True)
class TenantTree:
    """What stands in the address space of one tenant."""

    nodes: dict[str, PlannedNode] = field(default_factory=dict)
    shown: dict[str, NodeValueRow] = field(default_factory=dict)


class PlantAddressSpace:
    """Adds, changes and removes nodes; all calls from the server's loop."""

    def __init__(self, server: InternalServer, namespace_index: int) -> None:
        self._server = server
        self.index = namespace_index
        self.trees: dict[str, TenantTree] = {}  # by slug

    async def make_root(self) -> None:
        """Make the folder that all tenants stand in."""
        item = self._make_item(PlannedNode(ROOT, "", ROOT, ROOT, "", "folder"))
        item.ParentNodeId = ua.NodeId(ua.Int32(ObjectIds.ObjectsFolder))
        [result] = await self._server.isession.add_nodes([item])
        result.StatusCode.check()

    async def replace_plan(self, slug: str, plan: Mapping[str, PlannedNode]) -> None:
        """Make a tenant's nodes what `plan` says; what has not changed stays, and so do its subscriptions."""
        tree = self.trees.setdefault(slug, TenantTree())
        await self._delete(tree, [node_id for node_id, node in tree.nodes.items() if plan.get(node_id) != node])
        orphans: dict[str, list[PlannedNode]] = defaultdict(list)  # by the parent that is made anew
        for node in tree.nodes.values():
            if node.parent not in tree.nodes:
                orphans[node.parent].append(node)
        missing = [node for node_id, node in plan.items() if node_id not in tree.nodes]
        for start in range(0, len(missing), NODES_AT_ONCE):
            part = missing[start : start + NODES_AT_ONCE]
            results = await self._server.isession.add_nodes([self._make_item(node) for node in part])
            for node, result in zip(part, results, strict=True):
                result.StatusCode.check()
                tree.nodes[node.id] = node
                if node.kind in _TYPES:
                    nothing = StatusCodes.BadNotReadable if node.command else StatusCodes.BadWaitingForInitialData
                    await self._server.write_attribute_value(self._node_id(node.id), _without_value(nothing))
                await self._adopt(node, orphans.get(node.id, ()))
            await asyncio.sleep(0)

    async def show_values(self, slug: str, rows: Sequence[NodeValueRow]) -> None:
        """Write the values that changed; subscribers hear of them."""
        tree = self.trees.get(slug)
        if tree is None:
            return
        for row in rows:
            node = tree.nodes.get(row.node)
            if node is None or node.kind not in _TYPES or tree.shown.get(row.node) == row:
                continue
            tree.shown[row.node] = row
            await self._server.write_attribute_value(self._node_id(row.node), _make_value(row, node.kind))

    def find_command(self, slug: str, node_id: str) -> CommandInput | None:
        """Return what writing to a tenant's node commands; None where it is no such node."""
        tree = self.trees.get(slug)
        node = tree.nodes.get(node_id) if tree else None
        return node.command if node else None

    async def drop(self, slug: str) -> None:
        """Remove a tenant's nodes."""
        tree = self.trees.pop(slug, None)
        if tree is not None:
            await self._delete(tree, list(tree.nodes))

    async def _adopt(self, parent: PlannedNode, children: Sequence[PlannedNode]) -> None:
        """Let a node that was made anew lead again to what stayed below it."""
        for start in range(0, len(children), NODES_AT_ONCE):
            references = [self._make_reference(parent, child) for child in children[start : start + NODES_AT_ONCE]]
            for status in await self._server.isession.add_references(references):
                status.check()
            await asyncio.sleep(0)

    async def _delete(self, tree: TenantTree, node_ids: Sequence[str]) -> None:
        doomed = {self._node_id(node_id) for node_id in node_ids}
        # asyncua would look through the whole address space for references to each of them: minutes for thousands.
        for parent in {tree.nodes[node_id].parent for node_id in node_ids} - set(node_ids):
            data = self._server.aspace.get(self._node_id(parent))
            if data is not None:
                data.references = [reference for reference in data.references if reference.NodeId not in doomed]
        for start in range(0, len(node_ids), NODES_AT_ONCE):
            part = node_ids[start : start + NODES_AT_ONCE]
            parameters = ua.DeleteNodesParameters()
            parameters.NodesToDelete = [ua.DeleteNodesItem(self._node_id(node_id), False) for node_id in part]
            await self._server.isession.delete_nodes(parameters)
            for node_id in part:
                tree.nodes.pop(node_id, None)
                tree.shown.pop(node_id, None)
            await asyncio.sleep(0)

    def _make_reference(self, parent: PlannedNode, child: PlannedNode) -> ua.AddReferencesItem:
        item = ua.AddReferencesItem()
        item.SourceNodeId, item.TargetNodeId = self._node_id(parent.id), self._node_id(child.id)
        item.ReferenceTypeId = _standard(_reference_type(child))
        item.IsForward = True
        item.TargetNodeClass = ua.NodeClass.Variable if child.kind in _TYPES else ua.NodeClass.Object
        return item

    def _node_id(self, text: str) -> ua.NodeId:
        return ua.NodeId(ua.String(text), ua.Int16(self.index))

    def _make_item(self, node: PlannedNode) -> ua.AddNodesItem:
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = self._node_id(node.id)
        item.BrowseName = ua.QualifiedName(ua.String(node.browse_name), ua.UInt16(self.index))
        item.ParentNodeId, item.ReferenceTypeId = self._node_id(node.parent), _standard(_reference_type(node))
        attributes: ua.ObjectAttributes | ua.VariableAttributes
        if node.kind in _TYPES:
            item.NodeClass = ua.NodeClass.Variable
            item.TypeDefinition = _standard(ObjectIds.BaseDataVariableType)
            attributes = ua.VariableAttributes()
            data_type, variant_type = _TYPES[node.kind]
            attributes.DataType = _standard(data_type)
            attributes.Value = ua.Variant(_empty(node.kind), variant_type)
            attributes.ValueRank = ua.Int32(ua.ValueRank.Scalar)
            access = ua.AccessLevel.CurrentWrite if node.command else ua.AccessLevel.CurrentRead
            attributes.AccessLevel = attributes.UserAccessLevel = access.mask
            attributes.MinimumSamplingInterval = 1000.0
        else:
            item.NodeClass = ua.NodeClass.Object
            item.TypeDefinition = _standard(ObjectIds.FolderType if node.kind == "folder" else ObjectIds.BaseObjectType)
            attributes = ua.ObjectAttributes()
        attributes.DisplayName = ua.LocalizedText(node.display_name)
        attributes.Description = ua.LocalizedText(node.description)
        item.NodeAttributes = attributes
        return item


def _reference_type(node: PlannedNode) -> int:
    """Return how a node's parent refers to it."""
    return ObjectIds.HasComponent if node.kind in _TYPES else ObjectIds.Organizes


def _standard(identifier: int) -> ua.ExpandedNodeId:
    return ua.NodeId(ua.Int32(identifier))  # type: ignore[return-value]  # a node of the standard needs no server index


def _empty(kind: str) -> bool | float | str:
    return {"number": 0.0, "integer": 0, "boolean": False}.get(kind, "")


def _without_value(status: int) -> ua.DataValue:
    return ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(status)))


def _make_value(row: NodeValueRow, kind: str) -> ua.DataValue:
    return ua.DataValue(
        ua.Variant(row.value, _TYPES[kind][1]),
        ua.StatusCode(ua.UInt32(_STATUS[row.quality])),
        SourceTimestamp=ua.DateTime.fromisoformat(row.ts.isoformat()),
        ServerTimestamp=ua.DateTime.fromisoformat(row.received_at.isoformat()),
    )
