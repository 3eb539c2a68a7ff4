"""How the API and live frames write a time, and the last one that every time zone can write."""

from datetime import UTC, datetime

LAST_MOMENT = datetime(9999, 12, 30, tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """Return ISO 8601, UTC as `Z`."""
    return moment.isoformat().replace("+00:00", "Z")
