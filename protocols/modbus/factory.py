"""Makes this protocol's listener from the settings. Imported by its own process only: the libraries of all would take 100 MB."""

from pathlib import Path

from protocols.modbus.listener import ModbusListener


def make_listener(ready_file: Path | None) -> ModbusListener:
    """Return the listener that polls tenants' Modbus devices."""
    return ModbusListener(ready_file=ready_file)
