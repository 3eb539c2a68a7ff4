"""Tells the platform where the demo's machines stand that it calls: rows of `connections`, in the current tenant."""

from datetime import timedelta

from connections.models import ModbusConnection, ModbusRegister
from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_services import save_opcua_node, save_opcua_server
from connections.services import save_modbus_connection, save_modbus_register
from devices.models import Device
from iiot_site.demo.addresses import HOST, PLANT_NAMESPACE, lay_out, node_name, unit_of
from iiot_site.demo.demo_file import PlantEntry, simulated_identity_folder
from iiot_site.demo.plant import DEVICE_TYPES, DemoDevice, DemoTenant
from protocols.opcua.identity import load_identity

SERVER_NAME = "Simulated plant"
POLL_INTERVAL = timedelta(seconds=2)  # the machines change as often


def connect_machines(plant: DemoTenant, ports: PlantEntry) -> None:
    """Create what is missing, and move what stands at another port."""
    nodes = [device for device in plant.devices if device.protocol == "opcua"]
    units = [device for device in plant.devices if device.protocol == "modbus"]
    if nodes:
        server = _ensure_server(ports["opcua"])
        for device in nodes:
            _map_nodes(server, plant, device)
    for device in units:
        _connect_unit(plant, device, ports["modbus"])


def _ensure_server(port: int) -> OpcUaServer:
    server = OpcUaServer.objects.filter(name=SERVER_NAME).first() or OpcUaServer(name=SERVER_NAME)
    url = f"opc.tcp://{HOST}:{port}"
    if server.endpoint_url != url:
        server.endpoint_url = url
        save_opcua_server(server=server)
    certificate = load_identity(simulated_identity_folder()).certificate
    if bytes(server.trusted_certificate or b"") != certificate:
        server.trusted_certificate = certificate  # made here, so nothing to compare
        save_opcua_server(server=server)
    return server


def _map_nodes(server: OpcUaServer, plant: DemoTenant, wanted: DemoDevice) -> None:
    device = Device.objects.get(key=wanted.key)
    known = set(device.opcua_nodes.values_list("metric", flat=True))
    for metric in DEVICE_TYPES[wanted.kind]:
        if metric.key not in known:
            node_id = f"nsu={PLANT_NAMESPACE};s={node_name(f'{plant.slug}/{wanted.key}', metric.key)}"
            save_opcua_node(node=OpcUaNode(server=server, node_id=node_id, device=device, metric=metric.key))


def _connect_unit(plant: DemoTenant, wanted: DemoDevice, port: int) -> None:
    device = Device.objects.select_related("device_type").get(key=wanted.key)
    known = set(device.device_type.modbus_registers.values_list("metric", flat=True))
    for register in lay_out(DEVICE_TYPES[wanted.kind]):
        if register.metric not in known:
            row = ModbusRegister(device_type=device.device_type, metric=register.metric, table=register.table, address=register.address)
            row.data_type = register.data_type
            row.length = register.width if register.data_type == "string" else 1
            save_modbus_register(register=row)
    connection = ModbusConnection.objects.filter(device=device).first() or ModbusConnection(device=device, poll_interval=POLL_INTERVAL)
    if (connection.host, connection.port) != (HOST, port):
        connection.host, connection.port, connection.unit_id = HOST, port, unit_of(f"{plant.slug}/{wanted.key}")
        save_modbus_connection(modbus_connection=connection)
