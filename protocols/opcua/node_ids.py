"""Addresses of nodes that survive a restart of their server. Pure.

A namespace index may change with every start of a server, its URI does not (OPC 10000-3 §8.2): nodes are kept as
`nsu=<uri>;s=<name>` and get the index of the session that reads them. `ns=<index>;…` is taken as it is.
"""

from collections.abc import Sequence

from asyncua import ua
from asyncua.ua.uaerrors import UaError


class UnknownNodeError(ValueError):
    """Text that names no node of this server."""


def parse_node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    """Return the node that `text` means on a server with these namespaces.

    Raises:
        UnknownNodeError: it is no node id, or names a namespace that the server does not have.
    """
    local = text
    if text.startswith("nsu="):
        uri, _, rest = text.removeprefix("nsu=").partition(";")
        if uri not in namespaces:
            raise UnknownNodeError(f"The server has no namespace {uri[:100]!r} now.")
        local = f"ns={namespaces.index(uri)};{rest}"
    try:
        node_id = ua.NodeId.from_string(local)
    except (UaError, ValueError, TypeError, AttributeError) as exc:
        raise UnknownNodeError(f"{text[:100]!r} is no node id; use a form such as nsu=http://plc.example/;s=Temperature.") from exc
    if isinstance(node_id, ua.ExpandedNodeId):
        raise UnknownNodeError(f"{text[:100]!r} names a node of another server.")
    return node_id


def format_node_id(node_id: ua.NodeId, namespaces: Sequence[str]) -> str:
    """Return the text under which a node is kept."""
    plain = ua.NodeId(node_id.Identifier, node_id.NamespaceIndex, node_id.NodeIdType)
    index = int(node_id.NamespaceIndex)
    if index == 0 or index >= len(namespaces) or ";" in namespaces[index]:
        return plain.to_string()
    return f"nsu={namespaces[index]};{plain.to_string().partition(';')[2]}"
