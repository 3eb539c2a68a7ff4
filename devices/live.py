"""Live frames about devices' status, for the pages that show them."""

from collections.abc import Sequence
from typing import Any

from devices.watch import ToldChange
from iiot_site.lib.live import list_watched_topics, push_frames
from iiot_site.lib.times import format_time

OVERVIEW = "overview"
MAX_DEVICES_PER_FRAME = 200


def push_statuses(schema: str, changes: Sequence[ToldChange]) -> None:
    """Send `device_update` frames: to each device and site that somebody watches, and one with all to the overview. Best effort."""
    if not changes:
        return
    by_topic: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        described = _describe(change)
        by_topic.setdefault(OVERVIEW, []).append(described)
        by_topic.setdefault(f"device:{change.device}", []).append(described)
        if change.site is not None:
            by_topic.setdefault(f"site:{change.site}", []).append(described)
    watched = [list_watched_topics(schema, "device"), list_watched_topics(schema, "site")]
    known = None if None in watched else {OVERVIEW}.union(*(topics for topics in watched if topics))
    push_frames(schema, [(topic, _frame(topic, devices)) for topic, devices in by_topic.items() if known is None or topic in known])


def _frame(topic: str, devices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "device_update", "topic": topic, "count": len(devices), "devices": devices[:MAX_DEVICES_PER_FRAME]}


def _describe(change: ToldChange) -> dict[str, Any]:
    return {
        "device": str(change.device),
        "status": change.status,
        "status_since": format_time(change.since),
        "last_seen_at": format_time(change.last_seen_at) if change.last_seen_at else None,
    }
