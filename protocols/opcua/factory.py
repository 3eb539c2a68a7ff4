"""Makes this protocol's listener from the settings."""

from pathlib import Path

from protocols.opcua.browsing import platform_identity
from protocols.opcua.listener import OpcUaListener


def make_listener(ready_file: Path | None) -> OpcUaListener:
    """Return the listener that reads tenants' OPC UA servers."""
    return OpcUaListener(platform_identity(), ready_file=ready_file)
