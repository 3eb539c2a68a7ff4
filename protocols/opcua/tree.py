"""What a tenant's part of our address space holds, and whose a node is. Pure.

`Objects/IIoT/<tenant>/<site…>/<device key>/<metric key>`; node ids are text that begins with the tenant:
`<tenant>`, `<tenant>/@<site id>`, `<tenant>/<device key>`, `<tenant>/<device key>/<metric key>`,
`<tenant>/<device key>/@commands/<command>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from protocols.opcua.command_nodes import FOLDER, CommandInput

ROOT = "IIoT"
NAMESPACE = "urn:iiot-platform:plant"
Kind = Literal["folder", "device", "number", "integer", "boolean", "text"]


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site, named by its id; `parent` "" at the top."""

    id: str
    parent: str
    name: str


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of a device type."""

    key: str
    name: str
    unit: str
    data_type: str


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device; `site` "" where it stands nowhere."""

    key: str
    name: str
    site: str
    metrics: Sequence[MetricRow]
    commands: Sequence[CommandInput] = ()


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node to have. Two that are equal look alike, so that a change shows by comparing. `command` is what writing to it makes."""

    id: str
    parent: str
    browse_name: str
    display_name: str
    description: str
    kind: Kind
    command: CommandInput | None = None


def plan_tree(slug: str, sites: Sequence[SiteRow], devices: Sequence[DeviceRow]) -> dict[str, PlannedNode]:
    """Return the nodes of a tenant by id, each after its parent."""
    plan = [PlannedNode(slug, ROOT, slug, slug, "", "folder")]
    by_id = {site.id: site for site in sites}
    for site in sorted(sites, key=lambda site: _depth(site, by_id)):
        parent = f"{slug}/@{site.parent}" if site.parent in by_id else slug
        plan.append(PlannedNode(f"{slug}/@{site.id}", parent, site.name, site.name, "", "folder"))
    for device in devices:
        place = f"{slug}/@{device.site}" if device.site in by_id else slug
        node_id = f"{slug}/{device.key}"
        plan.append(PlannedNode(node_id, place, device.key, device.name, "", "device"))
        plan += [_plan_metric(node_id, metric) for metric in device.metrics]
        plan += _plan_commands(node_id, device.commands)
    return {node.id: node for node in plan}


def _plan_metric(device_node: str, metric: MetricRow) -> PlannedNode:
    kind: Kind = "boolean" if metric.data_type == "boolean" else "text" if metric.data_type == "text" else "number"
    return PlannedNode(f"{device_node}/{metric.key}", device_node, metric.key, metric.name or metric.key, metric.unit, kind)


def _plan_commands(device_node: str, commands: Sequence[CommandInput]) -> list[PlannedNode]:
    if not commands:
        return []
    folder = f"{device_node}/{FOLDER}"
    nodes = [PlannedNode(f"{folder}/{one.name}", folder, one.name, one.name, one.description, one.kind, one) for one in commands]
    return [PlannedNode(folder, device_node, "Commands", "Commands", "", "folder"), *nodes]


def _depth(site: SiteRow, by_id: dict[str, SiteRow]) -> int:
    depth = 0
    while site.parent in by_id and depth < len(by_id):
        site, depth = by_id[site.parent], depth + 1
    return depth


def is_of_tenant(node: str, slug: str) -> bool:
    """Tell whether the node is the tenant's, or the folder that all have in common."""
    return node in {ROOT, slug} or node.startswith(f"{slug}/")
