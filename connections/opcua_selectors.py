"""What listeners and pages read of a tenant's OPC UA servers."""

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import PASSWORD_PURPOSE
from connections.opcua_types import OpcUaCommandNode, OpcUaNodeSpec, OpcUaTarget
from devices.models import Device
from iiot_site.lib.encryption import UnreadableSecretError, unseal


def load_opcua_targets() -> list[OpcUaTarget]:
    """Return what is to be read in the current tenant: enabled servers, with the nodes of enabled devices."""
    nodes: dict[int, list[OpcUaNodeSpec]] = {}
    for node in OpcUaNode.objects.filter(server__is_enabled=True, device__is_enabled=True).select_related("device").order_by("id"):
        spec = OpcUaNodeSpec(node.id, node.node_id, node.device.key, node.metric, node.scale, node.offset, node.deadband)
        nodes.setdefault(node.server_id, []).append(spec)
    return [make_target(server, tuple(nodes.get(server.id, ()))) for server in OpcUaServer.objects.filter(is_enabled=True).order_by("id")]


def find_command_node(*, device_key: str, command: str) -> OpcUaCommandNode | None:
    """Return the node that a device's command writes, if its server is enabled."""
    node = OpcUaNode.objects.filter(server__is_enabled=True, device__key=device_key, command=command).first()
    return None if node is None else OpcUaCommandNode(node.server_id, node.node_id, node.scale, node.offset)


def list_command_names(device: Device) -> list[str]:
    """Return the commands of a device that write a node of an enabled server."""
    nodes = OpcUaNode.objects.filter(server__is_enabled=True, device=device).exclude(command="")
    return list(nodes.order_by("command").values_list("command", flat=True))


def make_target(server: OpcUaServer, nodes: tuple[OpcUaNodeSpec, ...] = ()) -> OpcUaTarget:
    """Return what is needed to connect to a server."""
    password = fault = ""
    try:
        password = unseal(server.sealed_password, purpose=PASSWORD_PURPOSE).decode() if server.sealed_password else ""
    except UnreadableSecretError as exc:
        fault = exc.detail
    sampling = server.sampling_interval
    return OpcUaTarget(
        server_id=server.id,
        name=server.name,
        endpoint_url=server.endpoint_url,
        security=server.security,
        authentication=server.authentication,
        username=server.username,
        password=password,
        trusted_certificate=bytes(server.trusted_certificate or b""),
        publishing_seconds=server.publishing_interval.total_seconds(),
        sampling_seconds=None if sampling is None else sampling.total_seconds(),
        nodes=nodes,
        fault=fault,
    )
