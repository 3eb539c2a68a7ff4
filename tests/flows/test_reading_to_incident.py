"""A device sends, and whoever watches sees the value, the incident, and what is done about it, without asking again."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from tests.flows.conftest import ConnectDevice
from tests.platform import Platform
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow


async def frame(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next frame of a kind; others in between are skipped."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            received: dict[str, Any] = json.loads(await socket.recv())
            if received["type"] == kind:
                return received


async def test_a_hot_pump_opens_an_incident_on_every_live_page(platform: Platform, connect: ConnectDevice) -> None:
    token = platform.log_in("operator")
    pump = await asyncio.to_thread(connect, "pump-7")
    address = platform.demo["http"].replace("http", "ws") + "/ws/live"
    async with connect_websocket(address, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        await socket.send(json.dumps({"type": "subscribe", "topics": [f"device:{pump.id}", "incidents"]}))
        await frame(socket, "subscribed")

        await asyncio.to_thread(pump.publish, {"temperature": 99})
        update = await frame(socket, "telemetry_update")
        assert [(v["metric"], v["value"], v["unit"]) for v in update["values"]] == [("temperature", 99.0, "°C")]
        incident = (await frame(socket, "incident"))["incident"]
        assert (incident["state"], incident["severity"]) == ("new", "critical")
        assert incident["device"]["id"] == pump.id

        path = f"/alerts/incidents/{incident['id']}"
        await asyncio.to_thread(platform.call, "POST", f"{path}/acknowledge", {}, token=token)
        assert (await frame(socket, "incident"))["incident"]["state"] == "acknowledged"

        await asyncio.to_thread(pump.publish, {"temperature": 50})
        assert (await frame(socket, "incident"))["incident"]["state"] == "resolved"
    latest = platform.call("GET", f"/devices/{pump.id}/latest", token=token)["results"]
    assert {value["metric"]: value["value"] for value in latest}["temperature"] == 50.0


def test_a_reading_over_http_takes_the_same_way(platform: Platform) -> None:
    entry = platform.device_entry("tank-3")
    answer = platform.call("POST", "/telemetry", {"level": 97.5}, token=entry["token"])
    assert answer == {"stored": 1, "duplicates": 0, "rejected": []}
    assert platform.values("tank-3", "level") == [97.5]
