"""An edge node over a real broker: births, aliases, devices behind it, and a rebirth when we do not understand."""

from typing import Any

import paho.mqtt.client as paho
import pytest
from django_tenants.utils import tenant_context

from devices.models import Device
from protocols.models import SparkplugNode
from protocols.sparkplug.messages import Payload
from protocols.sparkplug.nodes import EdgeNodes
from protocols.sparkplug.topics import SparkplugAddress
from telemetry.models import Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import RunListener
from tests.protocols.sparkplug.test_naming import BIRTH, frame
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def edge(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        node = make_device("edge-1")
        make_device("edge-1_tank", gateway=node)
        make_device("edge-1_pump")
        return node


def values(tenant: Tenant, device: str) -> list[float]:
    with tenant_context(tenant):
        readings = Reading.objects.filter(device__key=device, metric__data_type="number").order_by("ts", "metric__key")
        return list(readings.values_list("value", flat=True))


def reasons(tenant: Tenant) -> list[str]:
    with tenant_context(tenant):
        return list(RejectedMessage.objects.order_by("received_at").values_list("reason", flat=True))


def publish(client: paho.Client, topic: str, payload: bytes) -> None:
    client.publish(f"spBv1.0/acme/{topic}", payload, qos=1).wait_for_publish(WAIT_SECONDS)


def now_frame(seq: int, value: float, *, alias: int = 1) -> bytes:
    return frame(seq, {"alias": alias, "datatype": 9, "float_value": value}, timestamp=0)


def test_aliases_survive_a_restart_of_ours(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    with run_listener():
        birth = Payload()
        birth.ParseFromString(BIRTH)
        birth.timestamp = 0
        publish(platform, "NBIRTH/edge-1", birth.SerializeToString())
        wait_until(lambda: values(acme, "edge-1") == [21.5])
    assert SparkplugNode.objects.get().aliases == {"1": "Temperature", "2": "Running"}
    with run_listener():
        publish(platform, "NDATA/edge-1", now_frame(1, 22.5))
        wait_until(lambda: values(acme, "edge-1") == [21.5, 22.5])
    assert reasons(acme) == []


def test_a_node_that_is_not_understood_is_asked_for_its_births(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    asked: list[str] = []
    platform.on_message = lambda _client, _data, message: asked.append(message.topic)
    platform.subscribe("spBv1.0/acme/NCMD/#", 1)
    with run_listener():
        publish(platform, "NDATA/edge-1", now_frame(9, 22.5))
        publish(platform, "NDATA/edge-1", now_frame(10, 22.5))
        wait_until(lambda: reasons(acme) == ["unknown_alias", "unknown_alias"])
    wait_until(lambda: asked == ["spBv1.0/acme/NCMD/edge-1"])


def test_a_node_sends_for_devices_that_are_connected_via_it_and_no_others(
    acme: Tenant, platform: paho.Client, run_listener: RunListener
) -> None:
    level = frame(0, {"name": "Level", "datatype": 10, "double_value": 0.5}, timestamp=0)
    with run_listener():
        publish(platform, "DDATA/edge-1/pump", level)
        publish(platform, "DDATA/edge-1/tank", level)
        wait_until(lambda: values(acme, "edge-1_tank") == [0.5])
    assert values(acme, "edge-1_pump") == []
    assert reasons(acme) == ["other_device"]


def test_a_death_of_a_device_counts_in_the_sequence_of_its_node() -> None:
    asked: list[str] = []
    nodes = EdgeNodes(lambda topic, _payload: asked.append(topic))
    nodes.take(BIRTH, SparkplugAddress("acme", "NBIRTH", "edge-1", ""), is_repeated=False)
    assert nodes.is_over(frame(1), SparkplugAddress("acme", "DDEATH", "edge-1", "tank"), is_repeated=False)
    nodes.take(now_frame(2, 22.5), SparkplugAddress("acme", "NDATA", "edge-1", ""), is_repeated=False)
    assert asked == []


def test_a_thread_that_cannot_read_any_more_ends_the_process(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_listener() as listener:
        monkeypatch.setattr(listener, "_take_sparkplug", lambda *_: 1 / 0)
        publish(platform, "NDATA/edge-1", now_frame(1, 22.5))
        wait_until(lambda: listener._core.is_stopping)
        assert "ZeroDivisionError" in listener.last_error
        sockets = [listener._client.socket(), listener._client._sockpairR, listener._client._sockpairW]
    assert [link.fileno() for link in sockets if link] == [-1, -1, -1]


def test_names_the_database_does_not_take_hold_up_nobodys_heartbeat(acme: Tenant) -> None:
    asked: list[str] = []
    nodes = EdgeNodes(lambda topic, _payload: asked.append(topic))
    for node in ("edge-\0", "edge-1"):
        nodes.take(BIRTH, SparkplugAddress("acme", "NBIRTH", node, ""), is_repeated=False)
    nodes.save()
    assert [row.node for row in SparkplugNode.objects.all()] == ["edge-1"]


def connection(tenant: Tenant, key: str) -> str:
    with tenant_context(tenant):
        return str(Device.objects.get(key=key).connection)


def test_births_and_deaths_say_who_is_connected(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    def birth_seq(number: int) -> dict[str, Any]:
        return {"name": "bdSeq", "datatype": 8, "long_value": number}

    level = {"name": "Level", "datatype": 10, "double_value": 0.5}
    with run_listener():
        publish(platform, "NBIRTH/edge-1", frame(0, birth_seq(7), level, timestamp=0))
        publish(platform, "DBIRTH/edge-1/tank", frame(1, level, timestamp=0))
        wait_until(lambda: (connection(acme, "edge-1"), connection(acme, "edge-1_tank")) == ("online", "online"))
        publish(platform, "DDEATH/edge-1/pump", frame(2, timestamp=0))
        publish(platform, "DDEATH/edge-1/tank", frame(2, timestamp=0))
        publish(platform, "NDEATH/edge-1", frame(None, birth_seq(6), timestamp=0))
        wait_until(lambda: connection(acme, "edge-1_tank") == "offline")
        assert (connection(acme, "edge-1"), connection(acme, "edge-1_pump")) == ("online", "")
        wait_until(lambda: reasons(acme) == ["other_device"])  # written down after the batch
        publish(platform, "NDEATH/edge-1", frame(None, birth_seq(7), timestamp=0))
        wait_until(lambda: connection(acme, "edge-1") == "offline")
