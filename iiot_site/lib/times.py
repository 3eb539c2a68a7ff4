"""How the API and live frames write a time."""

from datetime import datetime


def format_time(moment: datetime) -> str:
    """Return ISO 8601, UTC as `Z`."""
    return moment.isoformat().replace("+00:00", "Z")
