"""The one door to live WebSocket clients: push a frame to a topic of a tenant.

Topics are `device:<uuid>`, `site:<uuid>`, `incidents`, `overview` (see api.md). Delivery is best effort: a page
that missed a frame reads the truth from the API, so a Redis outage is logged and never raised.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Set
from threading import Lock
from typing import Any

import redis.exceptions
from asgiref.sync import async_to_sync
from cachetools import TTLCache, cached
from channels.layers import get_channel_layer
from django.utils.encoding import force_str

from iiot_site.lib.redis_guard import TIMEOUT_SECONDS, guarded, redis_client

logger = logging.getLogger(__name__)

MESSAGE_TYPE = "live.frame"
GROUP_PREFIX = "iiot__group__"  # as channels_redis names a group's Redis channel, with our prefix
WATCHED_SECONDS = 0.5

Topics = dict[tuple[str, str], set[str]]  # by schema and kind


def group_name(schema: str, topic: str) -> str:
    """Return the channel group of a topic inside a tenant's schema."""
    return f"live.{schema}.{topic.replace(':', '.')}"


def list_watched_topics(schema: str, kind: str) -> Set[str] | None:
    """Return which topics `<kind>:…` of the tenant somebody listens to, as of half a second ago; None where Redis does not say.

    A busy plant has thousands of devices and a few pages open: what nobody sees need not be sent. All tenants are asked
    for at once: a hundred of them, each by itself, would cost more than what is saved.
    """
    try:
        return _load_watched().get((schema, kind), frozenset())
    except (redis.exceptions.RedisError, OSError) as exc:
        logger.warning("who listens in %s is not known: %s", schema, exc)
        return None


@cached(TTLCache[Any, Topics](maxsize=1, ttl=WATCHED_SECONDS), lock=Lock())
def _load_watched() -> Topics:
    topics: Topics = {}
    for channel in map(force_str, redis_client(1).pubsub_channels(f"{GROUP_PREFIX}live.*")):
        schema, kind, *name = channel.removeprefix(f"{GROUP_PREFIX}live.").split(".", 2)
        if name:
            topics.setdefault((schema, kind), set()).add(f"{kind}:{name[0]}")
    return topics


async def _send(frames: list[tuple[str, Mapping[str, Any]]]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for group, frame in frames:
            await layer.group_send(group, {"type": MESSAGE_TYPE, "frame": dict(frame)})


def push_frames(schema: str, frames: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Send `(topic, frame)` pairs to whoever listens in the tenant `schema`; call it after commit."""
    try:
        with guarded():
            async_to_sync(_send)([(group_name(schema, topic), frame) for topic, frame in frames])
    except (redis.exceptions.RedisError, OSError) as exc:
        logger.warning("live push failed for %s: %s", schema, exc)
