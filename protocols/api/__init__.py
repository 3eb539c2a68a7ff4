"""Telemetry over HTTP, and the state of the listeners."""
