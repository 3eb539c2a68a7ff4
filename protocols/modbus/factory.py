"""Makes this protocol's listener from the settings."""

from pathlib import Path

from protocols.modbus.listener import ModbusListener


def make_listener(ready_file: Path | None) -> ModbusListener:
    """Return the listener that polls tenants' Modbus devices."""
    return ModbusListener(ready_file=ready_file)
