"""The health of devices, with that of the connections over which the platform reads them."""

from collections.abc import Collection
from datetime import datetime

from connections.device_links import DeviceLink, load_device_links
from devices.models import Device
from telemetry.device_health import DeviceHealth, load_device_health
from telemetry.health_findings import Call
from tenants.permissions import allows


def load_health(*, device: Device, permissions: Collection[str], now: datetime) -> DeviceHealth:
    """Measure a device and its connections; of credentials and addresses only what the reader may know."""
    names_addresses = allows(permissions, "connection:read")
    calls = [_as_call(link, names_address=names_addresses) for link in load_device_links(device)]
    return load_device_health(device=device, with_credentials=allows(permissions, "credential:read"), now=now, calls=calls)


def _as_call(link: DeviceLink, *, names_address: bool) -> Call:
    name, error = f"The {link.kind} connection", ""
    if names_address:
        name, error = f"The {link.kind} {f'server {link.server_name}' if link.server_name else 'connection'} at {link.address}", link.error
    return Call(name, is_enabled=link.is_enabled, is_failing=link.is_failing, error=error, broken_nodes=link.broken_nodes)
