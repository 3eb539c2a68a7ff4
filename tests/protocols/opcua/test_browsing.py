"""Looking at a server before it is mapped, over the API and on the pages."""

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from django_tenants.utils import tenant_context

from connections.opcua_models import OpcUaNode, OpcUaServer
from devices.models import Device
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser
from tests.ports import free_port
from tests.protocols.opcua.plant import PlantServer

API = "/api/v1/protocols/opcua-servers"


def test_the_tree_is_browsed_level_by_level_with_present_values(
    plant: PlantServer, plc: OpcUaServer, api: MakeApi, acme: Tenant, acme_developer: User
) -> None:
    plant.add("Temperature", 21.5)
    plant.add("Curve", [1.0, 2.0])
    plant.add("Broken", 1.0)
    plant.write("Broken", ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))))
    developer = api(acme_developer, acme)
    nodes = {node["name"]: node for node in developer.get(f"{API}/{plc.uuid}/browse").json()["nodes"]}
    assert nodes["Temperature"] | {"node_id": ""} == {
        "node_id": "",
        "name": "Temperature",
        "is_variable": True,
        "data_type": "Double",
        "value": "21.5",
        "quality": "good",
        "is_telemetry": True,
    }
    assert nodes["Temperature"]["node_id"] == "nsu=http://plant.example/;s=Temperature"
    assert (nodes["Curve"]["is_telemetry"], nodes["Broken"]["quality"]) == (False, "bad")
    assert nodes["Server"]["is_variable"] is False
    below = developer.get(f"{API}/{plc.uuid}/browse", {"node": nodes["Server"]["node_id"]}).json()["nodes"]
    assert "ServerStatus" in {node["name"] for node in below}


@pytest.mark.parametrize("node", ["nonsense", "nsu=http://nobody.example/;s=T", "ns=1;s=nothing", "x" * 500])
def test_a_node_that_is_none_says_so(plc: OpcUaServer, api: MakeApi, acme: Tenant, acme_developer: User, node: str) -> None:
    answer = api(acme_developer, acme).get(f"{API}/{plc.uuid}/browse", {"node": node})
    assert answer.status_code in {400, 502}
    assert answer.json()["detail"]


def test_a_server_that_does_not_answer_says_so(plc: OpcUaServer, api: MakeApi, acme: Tenant, acme_developer: User) -> None:
    with tenant_context(acme):
        OpcUaServer.objects.update(endpoint_url=f"opc.tcp://127.0.0.1:{free_port()}")
    answer = api(acme_developer, acme).get(f"{API}/{plc.uuid}/browse")
    assert (answer.status_code, answer.json()["code"]) == (502, "opcua_unreachable")


def test_a_certificate_is_asked_for_compared_and_accepted(
    plant: PlantServer, plc: OpcUaServer, api: MakeApi, acme: Tenant, acme_developer: User
) -> None:
    with tenant_context(acme):
        OpcUaServer.objects.update(trusted_certificate=b"")
    developer = api(acme_developer, acme)
    refused = developer.get(f"{API}/{plc.uuid}/browse")
    assert (refused.status_code, refused.json()["code"]) == (409, "opcua_certificate_not_trusted")
    offers = developer.post(f"{API}/{plc.uuid}/check").json()
    secure = next(offer for offer in offers if offer["security"] == "Basic256Sha256")
    assert secure["fingerprint"] == plant.identity.fingerprint
    assert developer.post(f"{API}/{plc.uuid}/trust", {"fingerprint": "AB:CD"}).status_code == 409
    assert developer.post(f"{API}/{plc.uuid}/trust", {"fingerprint": secure["fingerprint"]}).status_code == 200
    assert developer.get(f"{API}/{plc.uuid}/browse").status_code == 200


def test_a_developer_finds_a_node_on_the_page_and_maps_it(
    plant: PlantServer, plc: OpcUaServer, pump: Device, browser: MakeBrowser, acme: Tenant, acme_developer: User
) -> None:
    node_id = plant.add("Temperature", 21.5)
    client, path = browser(acme_developer), f"/t/acme/opcua/{plc.uuid}"
    assert "PLC 7" in client.get("/t/acme/opcua").content.decode()
    tree = client.get(f"{path}/browse").content.decode()
    assert "nsu%3Dhttp%3A%2F%2Fplant.example%2F%3Bs%3DTemperature" in tree
    assert pump.name in client.get(f"{path}/pick", {"node": node_id, "name": "Temperature"}).content.decode()
    wrong = client.post(f"{path}/map", {"node": node_id, "device": str(pump.uuid), "metric": "1 !"}).content.decode()
    assert "Start with a letter" in wrong
    done = client.post(f"{path}/map", {"node": node_id, "device": str(pump.uuid), "metric": "temperature", "scale": "0.5"})
    assert done["HX-Trigger"] == "mapped"
    with tenant_context(acme):
        mapping = OpcUaNode.objects.get()
    assert (mapping.node_id, mapping.scale) == (node_id, 0.5)
    assert node_id in client.get(path).content.decode()
    assert client.post(f"{path}/unmap/{mapping.uuid}").status_code == 302
    with tenant_context(acme):
        assert not OpcUaNode.objects.exists()


def test_a_viewer_looks_and_changes_nothing_and_an_outsider_finds_nothing(
    plc: OpcUaServer, browser: MakeBrowser, acme_viewer: User, globex_admin: User
) -> None:
    viewer, outsider, path = browser(acme_viewer), browser(globex_admin), f"opcua/{plc.uuid}"
    assert viewer.get(f"/t/acme/{path}").status_code == 200
    assert "/browse" not in viewer.get(f"/t/acme/{path}").content.decode()
    for below in ("browse", "pick"):
        assert viewer.get(f"/t/acme/{path}/{below}").status_code == 403
    for below in ("map", "trust", "check"):
        assert viewer.post(f"/t/acme/{path}/{below}").status_code == 403
        assert outsider.post(f"/t/globex/{path}/{below}").status_code == 404
    assert outsider.get(f"/t/acme/{path}").status_code == 404
    assert outsider.get(f"/t/globex/{path}").status_code == 404
