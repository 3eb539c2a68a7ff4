"""Adjustments of the OpenAPI schema."""

from typing import Any

Endpoint = tuple[str, str, str, Any]


def strip_trailing_slashes(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Document each path without the slash at its end, which our routes only forgive."""
    return [(path.rstrip("/") or "/", regex, method, callback) for path, regex, method, callback in endpoints]
