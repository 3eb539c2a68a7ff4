"""Readings: stored once, latest values, history, rejected messages. Written only through `telemetry.services`."""
