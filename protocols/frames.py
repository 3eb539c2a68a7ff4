"""The last raw frames of devices that somebody looks at: a short ring per device in Redis. Best effort.

Whoever looks says so, and says it again; from a second later on the hand-off keeps the device's frames, until nobody has
said so for two minutes. A device that nobody looks at costs the pipeline one look into a dictionary per batch.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import redis

from iiot_site.lib.redis_guard import redis_client
from protocols.types import RawMessage

logger = logging.getLogger(__name__)

FRAMES_KEPT = 50
MAX_FRAME_BYTES = 4096
MAX_WATCHED_PER_TENANT = 50
WATCH_SECONDS = 120
KEPT_SECONDS = 1800
REFRESH_SECONDS = 1.0
RETRY_SECONDS = 10.0

_NOBODY: frozenset[str] = frozenset()
_WATCHED_TENANTS_KEY = "frames-watched"
_watched: dict[str, frozenset[str]] = {}
_refresh_at = {"all": 0.0}


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A frame as it came. `payload` is its beginning, `codec` what the transport said."""

    received_at: datetime
    protocol: str
    source: str
    codec: str
    payload: bytes
    payload_bytes: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def _watch_key(schema: str) -> str:
    return f"frames-watched:{schema}"


def _ring_key(schema: str, device: str) -> str:
    return f"frames:{schema}:{device}"


# --- For the pipeline


def list_watched(schema: str) -> frozenset[str]:
    """Return the keys of devices whose frames are wanted, as the hand-off last learnt it. Asks nobody."""
    return _watched.get(schema, _NOBODY)


def keep_frames(schema: str, messages: Iterable[RawMessage]) -> None:
    """Keep the frames of a committed batch, and learn every second which are wanted; called by the hand-off."""
    try:
        rings: dict[str, list[bytes]] = {}
        for message in messages:
            rings.setdefault(message.device, []).append(_encoder.encode(_frame(message)))
        if rings:
            with redis_client(0).pipeline(transaction=False) as pipeline:
                for device, frames in rings.items():
                    key = _ring_key(schema, device)
                    pipeline.lpush(key, *frames[-FRAMES_KEPT:])
                    pipeline.ltrim(key, 0, FRAMES_KEPT - 1)
                    pipeline.expire(key, KEPT_SECONDS)
                pipeline.execute()
        _learn_watched()
    except (redis.RedisError, OSError) as exc:
        _refresh_at["all"] = time.monotonic() + RETRY_SECONDS
        _watched.clear()
        logger.warning("frames of %s were not kept: %s", schema, exc)


def _learn_watched() -> None:
    """Ask, once in a second for all tenants, whose frames are wanted."""
    now = time.monotonic()
    if now < _refresh_at["all"]:
        return
    _refresh_at["all"] = now + REFRESH_SECONDS
    client, since = redis_client(0), time.time()
    tenants: Any = client.zrangebyscore(_WATCHED_TENANTS_KEY, since, "+inf")
    schemas = [tenant.decode() for tenant in tenants]
    with client.pipeline(transaction=False) as pipeline:
        for schema in schemas:
            pipeline.zrangebyscore(_watch_key(schema), since, "+inf")
        found = pipeline.execute()
    _watched.clear()
    _watched.update({schema: frozenset(key.decode() for key in keys) for schema, keys in zip(schemas, found, strict=True)})


def _frame(message: RawMessage) -> Frame:
    payload = bytes(message.payload[:MAX_FRAME_BYTES])
    return Frame(message.received_at, message.protocol, message.source, message.codec, payload, len(message.payload))


# --- For whoever looks


def watch_frames(*, schema: str, device: str) -> bool:
    """Ask for the frames of a device for the next two minutes; False where too many are asked for, or Redis is away."""
    key, now = _watch_key(schema), time.time()
    try:
        with redis_client(0).pipeline(transaction=False) as pipeline:
            pipeline.zremrangebyscore(key, "-inf", now)
            pipeline.zscore(key, device)
            pipeline.zcard(key)
            _, known, count = pipeline.execute()
            if known is None and count >= MAX_WATCHED_PER_TENANT:
                return False
            pipeline.zadd(key, {device: now + WATCH_SECONDS})
            pipeline.expire(key, WATCH_SECONDS)
            pipeline.zremrangebyscore(_WATCHED_TENANTS_KEY, "-inf", now)
            pipeline.zadd(_WATCHED_TENANTS_KEY, {schema: now + WATCH_SECONDS})
            pipeline.execute()
    except (redis.RedisError, OSError) as exc:
        logger.warning("frames of %s are not kept: %s", schema, exc)
        return False
    return True


def load_frames(*, schema: str, device: str, limit: int) -> Sequence[Frame]:
    """Return the newest frames that were kept, newest first; none where Redis is away."""
    try:
        frames: Any = redis_client(0).lrange(_ring_key(schema, device), 0, limit - 1)
        return [_decoder.decode(frame) for frame in frames]
    except (redis.RedisError, OSError, msgspec.DecodeError) as exc:
        logger.warning("frames of %s cannot be read: %s", schema, exc)
        return []


def forget_watched() -> None:
    """Forget what this process has learnt; for tests."""
    _watched.clear()
    _refresh_at["all"] = 0.0
