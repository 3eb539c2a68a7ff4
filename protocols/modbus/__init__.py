"""Modbus TCP: the platform asks devices for their registers."""
