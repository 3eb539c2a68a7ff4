"""A device reaches its own topics and nothing else, and nothing at all once its credential is revoked."""

from typing import Any

import pytest

from tests.flows.conftest import ConnectDevice, Device
from tests.platform import Platform
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_it_cannot_publish_for_another_device_or_tenant(platform: Platform, connect: ConnectDevice) -> None:
    for topic in ("t/acme/pump-1/telemetry", "t/globex/pump-1/telemetry", "t/globex/pump-2/telemetry", "t/acme/pump-2/x/telemetry"):
        connect("pump-2").publish({"temperature": 66.6}, topic=topic)  # mosquitto takes it, drops it and may hang up
    connect("pump-2").publish({"temperature": 20.5})
    wait_until(lambda: platform.values("pump-2", "temperature") == [20.5])  # what was sent before it would be there by now
    assert platform.values("pump-1", "temperature") == []
    assert platform.values("pump-1", "temperature", tenant="globex") == []


def test_it_cannot_listen_to_another_device_or_tenant(platform: Platform, connect: ConnectDevice) -> None:
    intruder = connect("pump-2")
    for topic in ("#", "t/+/+/telemetry", "t/acme/pump-1/telemetry", "t/globex/pump-1/telemetry", "$SYS/#"):
        intruder.subscribe(topic)
    for tenant in ("acme", "globex"):
        connect("pump-1", tenant=tenant).publish({"vibration": 7})
        wait_until(lambda tenant=tenant: platform.values("pump-1", "vibration", tenant=tenant)[-1:] == [7])  # type: ignore[misc]  # bound at once
    assert intruder.received == []


def test_a_wrong_password_is_refused(platform: Platform) -> None:
    entry = platform.device_entry("pump-2") | {"password": platform.device_entry("pump-1")["password"]}
    with pytest.raises(AssertionError, match="refused"):
        Device(platform, entry)


def test_a_revoked_device_is_thrown_out_and_stays_out(platform: Platform, connect: ConnectDevice) -> None:
    device = connect("pump-9", tenant="globex")
    token = platform.log_in("developer", tenant="globex")
    path = f"/devices/{device.id}/credentials"
    credential = next(c for c in platform.call("GET", path, token=token)["results"] if c["kind"] == "mqtt")
    platform.call("DELETE", f"{path}/{credential['id']}", token=token)
    entry = platform.device_entry("pump-9", tenant="globex")
    wait_until(lambda: not can_connect(platform, entry))
    device.publish({"temperature": 1}, wait=False)  # on the connection it had, if the broker has not closed it
    connect("pump-1", tenant="globex").publish({"pressure": 4})
    wait_until(lambda: platform.values("pump-1", "pressure", tenant="globex") == [4])  # what was sent before it would be there by now
    assert platform.values("pump-9", "temperature", tenant="globex") == []


def can_connect(platform: Platform, entry: dict[str, Any]) -> bool:
    try:
        Device(platform, entry).close()
    except AssertionError:
        return False
    return True
