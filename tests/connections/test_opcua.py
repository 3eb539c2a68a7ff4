"""OPC UA servers and nodes through the API and the services: what is taken, and that no password comes out."""

import pytest
from django_tenants.utils import tenant_context
from rest_framework.test import APIClient

from connections.certificates import fingerprint_of
from connections.errors import CertificateChangedError
from connections.opcua_models import OpcUaServer
from connections.opcua_selectors import load_opcua_targets
from connections.opcua_services import offer_certificate, save_opcua_server, trust_certificate
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeDevice

API = "/api/v1/protocols/opcua-servers"
PLC = {"name": "PLC 7", "endpoint_url": "opc.tcp://10.0.4.17:4840/plc"}


@pytest.fixture
def developer(api: MakeApi, acme: Tenant, acme_developer: User) -> APIClient:
    return api(acme_developer, acme)


def test_a_server_and_a_node_are_made_through_the_api(developer: APIClient, acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        device = make_device("pump-7")
    login = {"authentication": "password", "username": "platform", "password": " s3cret "}
    made = developer.post(API, PLC | login)
    assert made.status_code == 201, made.content
    assert "s3cret" not in made.content.decode()
    assert (made.json()["has_password"], made.json()["security"]) == (True, "Basic256Sha256")
    mapping = {"node_id": "nsu=http://plc.example/;s=T", "device": str(device.uuid), "metric": "temperature", "scale": 0.1}
    mapping["command"] = "set_temperature"
    mappings = f"{API}/{made.json()['id']}/mappings"
    assert developer.post(mappings, mapping).status_code == 201
    twice = developer.post(mappings, mapping).json()["errors"]  # a metric has one node, and a command writes one
    assert twice["metric"] == ["Pump 7 gets temperature from nsu=http://plc.example/;s=T of the server PLC 7. Remove that mapping first."]
    assert "writes nsu=http://plc.example/;s=T of the server PLC 7" in twice["command"][0]
    assert list(developer.post(mappings, mapping | {"metric": "pressure"}).json()["errors"]) == ["command"]
    assert developer.post(mappings, mapping | {"metric": "pressure", "command": "no name"}).status_code == 400
    with tenant_context(acme):
        [target] = load_opcua_targets()
    assert (target.password, target.username) == (" s3cret ", "platform")
    assert [(node.node_id, node.device, node.metric, node.scale) for node in target.nodes] == [
        ("nsu=http://plc.example/;s=T", "pump-7", "temperature", 0.1)
    ]
    assert "s3cret" not in repr(target)


def test_a_password_stays_until_it_is_named_and_goes_with_the_address(developer: APIClient, acme: Tenant) -> None:
    made = developer.post(API, PLC | {"authentication": "password", "username": "platform", "password": "s3cret"}).json()
    renamed = developer.patch(f"{API}/{made['id']}", {"name": "PLC 8"}).json()
    assert renamed["has_password"] is True
    moved = developer.patch(f"{API}/{made['id']}", {"endpoint_url": "opc.tcp://10.0.4.18:4840"}).json()
    assert (moved["has_password"], moved["trusted_fingerprint"]) == (False, "")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.4.17:4840",
        "opc.tcp://",
        "opc.tcp://user:secret@10.0.4.17:4840",
        "opc.tcp://8.8.8.8:4840",
        "opc.tcp://169.254.169.254",
        "opc.tcp://10.0.4.17:99999",
        "opc.tcp://127.0.0.1:4840",
        "opc.tcp://a b:4840",
        "opc.tcp://10.0.4.17:0",
        "opc.tcp://[::1",
    ],
)
def test_an_address_outside_the_plant_or_of_another_kind_is_refused(developer: APIClient, url: str) -> None:
    answer = developer.post(API, PLC | {"endpoint_url": url})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["endpoint_url"])


def test_a_login_without_security_is_refused(developer: APIClient) -> None:
    answer = developer.post(API, PLC | {"security": "none", "authentication": "password", "username": "u", "password": "p"})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["authentication"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("node_id", "Temperature"), ("node_id", "ns=2;x=1"), ("metric", "1 !"), ("scale", 0), ("deadband", -1), ("device", "nobody")],
)
def test_a_mapping_that_cannot_work_is_refused(
    developer: APIClient, acme: Tenant, make_device: MakeDevice, field: str, value: object
) -> None:
    with tenant_context(acme):
        device = make_device("pump-7")
    server = developer.post(API, PLC).json()["id"]
    mapping = {"node_id": "ns=2;s=T", "device": str(device.uuid), "metric": "temperature"} | {field: value}
    answer = developer.post(f"{API}/{server}/mappings", mapping)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_only_the_certificate_that_was_compared_is_accepted(in_acme: Tenant) -> None:
    server = save_opcua_server(server=OpcUaServer(**PLC))
    offer_certificate(server=server, certificate=b"one")
    compared = server.offered_fingerprint
    offer_certificate(server=server, certificate=b"two")
    with pytest.raises(CertificateChangedError):
        trust_certificate(server=server, fingerprint=compared)
    trusted = trust_certificate(server=server, fingerprint=fingerprint_of(b"two").lower())
    assert (bytes(trusted.trusted_certificate), trusted.offered_fingerprint) == (b"two", "")
