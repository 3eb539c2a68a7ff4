"""The one door to live WebSocket clients: push a frame to a topic of a tenant.

Topics are `device:<uuid>`, `site:<uuid>`, `incidents`, `overview` (see api.md). Delivery is best effort: a page
that missed a frame reads the truth from the API, so a Redis outage is logged and never raised.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import redis.exceptions
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

MESSAGE_TYPE = "live.frame"


def group_name(schema: str, topic: str) -> str:
    """Return the channel group of a topic inside a tenant's schema."""
    return f"live.{schema}.{topic.replace(':', '.')}"


async def _send(frames: list[tuple[str, Mapping[str, Any]]]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    for group, frame in frames:
        await layer.group_send(group, {"type": MESSAGE_TYPE, "frame": dict(frame)})


def push_frames(schema: str, frames: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Send `(topic, frame)` pairs to whoever listens in the tenant `schema`; call it after commit."""
    try:
        async_to_sync(_send)([(group_name(schema, topic), frame) for topic, frame in frames])
    except (redis.exceptions.RedisError, OSError) as exc:
        logger.warning("live push failed for %s: %s", schema, exc)
