"""How the platform reads one device by itself: its Modbus connection, and the OPC UA servers with nodes of it."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from connections.models import ModbusConnection
from connections.opcua_models import OpcUaServer
from devices.models import Device


@dataclass(frozen=True, slots=True)
class DeviceLink:
    """A connection of a device, as people look at it."""

    kind: str  # in words
    address: str
    is_enabled: bool
    state: str
    error: str
    state_at: datetime | None
    heard_at: datetime | None
    server_id: uuid.UUID | None = None  # of the OPC UA server
    server_name: str = ""
    connection_id: int | None = None  # of the Modbus connection
    nodes: int = 0
    broken_nodes: int = 0

    @property
    def is_failing(self) -> bool:
        return self.is_enabled and self.state == ModbusConnection.State.FAILING


def load_device_links(device: Device) -> list[DeviceLink]:
    """Return how the platform reads a device; nothing for one that sends by itself."""
    modbus = [_of_modbus(connection) for connection in ModbusConnection.objects.filter(device=device)]
    of_device = Q(nodes__device=device)
    servers = OpcUaServer.objects.filter(of_device).annotate(
        device_nodes=Count("nodes", filter=of_device), broken_nodes=Count("nodes", filter=of_device & ~Q(nodes__problem=""))
    )
    return modbus + [_of_server(server, server.device_nodes, server.broken_nodes) for server in servers.order_by("name")]


def _of_modbus(connection: ModbusConnection) -> DeviceLink:
    return DeviceLink(
        kind="Modbus TCP",
        address=f"{connection.host}:{connection.port}, unit {connection.unit_id}",
        is_enabled=connection.is_enabled,
        state=connection.state,
        error=connection.last_error,
        state_at=connection.state_at,
        heard_at=connection.last_answer_at,
        connection_id=connection.pk,
    )


def _of_server(server: OpcUaServer, nodes: int, broken_nodes: int) -> DeviceLink:
    return DeviceLink(
        kind="OPC UA",
        address=server.endpoint_url,
        is_enabled=server.is_enabled,
        state=server.state,
        error=server.last_error,
        state_at=server.state_at,
        heard_at=server.heard_at,
        server_id=server.uuid,
        server_name=server.name,
        nodes=nodes,
        broken_nodes=broken_nodes,
    )
