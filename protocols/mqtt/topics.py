"""Topics of the platform's own MQTT conventions: `t/<tenant>/<device>/<channel>`. Pure."""

from functools import lru_cache
from typing import NamedTuple

TELEMETRY_SUBSCRIPTION = "t/+/+/telemetry"


class TopicAddress(NamedTuple):
    """Where a message comes from."""

    tenant: str
    device: str
    channel: str
    topic: str


@lru_cache(maxsize=100_000)
def parse_topic(raw: bytes) -> TopicAddress | None:
    """Return what a topic says, or None where it is none of ours or not UTF-8."""
    try:
        topic = raw.decode()
    except UnicodeDecodeError:
        return None
    match topic.split("/"):
        case ["t", tenant, device, channel] if tenant and device and channel:
            return TopicAddress(tenant, device, channel, topic)
    return None
