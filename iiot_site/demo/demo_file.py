"""`var/demo.json`: where the demo is and how to get in. Readable by its owner only; shape as in docs."""

import json
import os
import shlex
import tempfile
from pathlib import Path
from typing import NotRequired, TypedDict

from django.conf import settings


class DemoLogin(TypedDict):
    """A person of the demo."""

    email: str
    password: str


class DemoDeviceEntry(TypedDict):
    """A device with its secrets. `topic` is where it publishes."""

    id: str
    key: str
    name: str
    type: str
    protocol: str
    username: str
    password: str
    token: str
    topic: str
    simulated: bool


class DemoTenantEntry(TypedDict):
    """A tenant with people by role, and devices; those that are not simulated come first."""

    id: str
    users: dict[str, DemoLogin]
    devices: list[DemoDeviceEntry]


class BrokerEntry(TypedDict):
    """Where devices find the broker."""

    host: str
    port: int


class PlantEntry(TypedDict):
    """Ports on this host of the simulated machines that the platform calls."""

    opcua: int
    modbus: int


class DemoFile(TypedDict):
    """The whole file. `opcua` is the platform's own server."""

    version: int
    http: str
    mqtt: BrokerEntry
    amqp: NotRequired[BrokerEntry]
    coap: NotRequired[BrokerEntry]
    opcua: NotRequired[BrokerEntry]
    plant: NotRequired[PlantEntry]
    tenants: dict[str, DemoTenantEntry]
    platform_admin: DemoLogin


def demo_path() -> Path:
    """Return where the demo's secrets are kept."""
    return Path(settings.IIOT_DATA_DIR) / "demo.json"


def simulated_identity_folder() -> Path:
    """Return where the simulated OPC UA server's certificate and key are kept."""
    return Path(settings.IIOT_DATA_DIR) / "demo-plant"


def read_demo_file(path: Path) -> DemoFile | None:
    """Return what an earlier run wrote; None where there is nothing usable."""
    try:
        content: DemoFile = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) and content.keys() >= DemoFile.__required_keys__ else None


def write_demo_file(path: Path, content: DemoFile) -> None:
    """Replace the file at once; mode 600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".demo.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
    Path(temporary).replace(path)


def shell_exports(content: DemoFile) -> str:
    """Return `export NAME=value` lines for the first device that the simulator leaves alone, and its tenant's admin."""
    slug, tenant = next(iter(content["tenants"].items()))
    device = next(entry for entry in tenant["devices"] if not entry["simulated"])
    admin = tenant["users"]["admin"]
    values = {
        "IIOT_URL": content["http"],
        "IIOT_TENANT": slug,
        "IIOT_EMAIL": admin["email"],
        "IIOT_PASSWORD": admin["password"],
        "MQTT_HOST": content["mqtt"]["host"],
        "MQTT_PORT": str(content["mqtt"]["port"]),
        "MQTT_USERNAME": device["username"],
        "MQTT_PASSWORD": device["password"],
        "MQTT_TOPIC": device["topic"],
        "DEVICE_ID": device["id"],
        "DEVICE_TOKEN": device["token"],
    }
    if "amqp" in content:
        host, port = content["amqp"]["host"], str(content["amqp"]["port"])
        values |= {"AMQP_HOST": host, "AMQP_PORT": port, "AMQP_KEY": f"{slug}.{device['key']}.telemetry"}
    if "coap" in content:
        values["COAP_URL"] = f"coap://{content['coap']['host']}:{content['coap']['port']}"
    if "opcua" in content:
        values["OPCUA_URL"] = f"opc.tcp://{content['opcua']['host']}:{content['opcua']['port']}/iiot"
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
