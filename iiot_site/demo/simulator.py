"""Drives the demo's devices: each is a client of its own with its own credentials, as in a plant."""

import json
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from iiot_site.demo.demo_file import DemoDeviceEntry, DemoFile, simulated_identity_folder
from iiot_site.demo.links import Link, MqttLink, open_link
from iiot_site.demo.signals import Machine
from iiot_site.demo.simulated_plant import PlantLink, SimulatedPlant

logger = logging.getLogger(__name__)

FIRST_FAULT_SECONDS = 40.0
FAULT_PAUSE_SECONDS = (90.0, 240.0)
FAULT_SECONDS = (50.0, 80.0)
CONNECT_SECONDS = 10.0
PLANT_PROTOCOLS = ("opcua", "modbus")  # of machines that the platform calls


class SimulatedDevice:
    """One device: signals and a connection."""

    def __init__(self, entry: DemoDeviceEntry, link: Link) -> None:
        self.name = entry["username"]
        self.machine = Machine(entry["type"], self.name)
        self.link = link
        if isinstance(link, MqttLink):
            link.answer_commands(self.machine.obey)

    def publish(self, at: datetime) -> None:
        """Send what the sensors show, with the time."""
        self.link.publish(json.dumps({"ts": int(at.timestamp() * 1000), "values": self.machine.values(at)}))


@dataclass(slots=True)
class _FaultPlan:
    """When the next device goes wrong."""

    random: random.Random
    next_at: float

    def turn(self, devices: list[SimulatedDevice], at: datetime) -> None:
        if at.timestamp() < self.next_at:
            return
        device = self.random.choice(devices)
        seconds = self.random.uniform(*FAULT_SECONDS)
        device.machine.start_fault(at, seconds=seconds)
        self.next_at = at.timestamp() + seconds + self.random.uniform(*FAULT_PAUSE_SECONDS)
        logger.info("%s goes wrong for %.0f s", device.name, seconds)


class Simulator:
    """All simulated devices of the demo, publishing in turn so that the load is even."""

    def __init__(self, content: DemoFile, *, messages_per_second: float) -> None:
        entries = [entry for tenant in content["tenants"].values() for entry in tenant["devices"] if entry["simulated"]]
        self._plant = _build_plant(entries, content)
        self._devices = [SimulatedDevice(entry, self._open_link(entry, content)) for entry in entries]
        self._period = 1 / messages_per_second
        self._faults = _FaultPlan(random.Random(), datetime.now(UTC).timestamp() + FIRST_FAULT_SECONDS)  # noqa: S311 - a simulation
        self._is_stopping = False

    def request_stop(self) -> None:
        """End soon. Only sets a flag: signal handlers call it."""
        self._is_stopping = True

    def wait_until_connected(self, *, with_late: bool = True) -> bool:
        """Wait until every device, or all but those whose server starts late, has been accepted; False after ten seconds."""
        awaited = [device.link for device in self._devices if with_late or not device.link.starts_late]
        deadline = time.monotonic() + CONNECT_SECONDS
        while time.monotonic() < deadline and not self._is_stopping:
            if all(link.is_connected for link in awaited):
                return True
            time.sleep(0.1)
        return False

    def publish_once(self) -> None:
        """Send one message from every device and wait until they have been taken."""
        for device in self._devices:
            device.publish(datetime.now(UTC))
        for device in self._devices:
            device.link.flush(timeout_seconds=CONNECT_SECONDS)

    def run(self) -> None:
        """Publish until told to stop."""
        step = self._period / len(self._devices)
        turn_at = time.monotonic()
        while True:
            for device in self._devices:
                while (pause := turn_at - time.monotonic()) > 0 and not self._is_stopping:
                    time.sleep(min(pause, 0.25))
                if self._is_stopping:
                    return
                turn_at = max(turn_at + step, time.monotonic() - self._period)  # after a standstill, do not rush to catch up
                now = datetime.now(UTC)
                self._faults.turn(self._devices, now)
                device.publish(now)

    def close(self) -> None:
        """Disconnect all devices."""
        for device in self._devices:
            device.link.close()
        if self._plant is not None:
            self._plant.close()

    def _open_link(self, entry: DemoDeviceEntry, content: DemoFile) -> Link:
        if self._plant is not None and entry["protocol"] in PLANT_PROTOCOLS:
            return PlantLink(self._plant, entry)
        return open_link(entry, content)


def _build_plant(entries: list[DemoDeviceEntry], content: DemoFile) -> SimulatedPlant | None:
    waiting = [entry for entry in entries if entry["protocol"] in PLANT_PROTOCOLS]
    if "plant" not in content or not waiting:
        return None
    return SimulatedPlant(waiting, content["plant"], folder=simulated_identity_folder())
