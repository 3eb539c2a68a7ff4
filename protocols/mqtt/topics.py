"""Topics of the platform's own MQTT conventions: `t/<tenant>/<device>/<channel>`. Pure."""

from functools import lru_cache
from typing import NamedTuple

from protocols.types import REPORTED, RESPONSE, STATE_GET, STATUS

# Topic channel -> what it is to the pipeline.
CHANNELS = {
    "telemetry": "",
    "status": STATUS,
    "commands/response": RESPONSE,
    "state/reported": REPORTED,
    "state/get": STATE_GET,
}
SUBSCRIPTIONS = tuple(f"t/+/+/{channel}" for channel in CHANNELS)


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
    parts = topic.split("/", 3)
    if len(parts) < 4 or parts[0] != "t" or not all(parts):
        return None
    return TopicAddress(parts[1], parts[2], parts[3], topic)


def command_topic(tenant: str, device: str) -> str:
    """Return where a device listens for commands."""
    return f"t/{tenant}/{device}/commands"


def alerts_topic(tenant: str, device: str) -> str:
    """Return where a device hears of its alerts."""
    return f"t/{tenant}/{device}/alerts"


def state_topic(tenant: str, device: str) -> str:
    """Return where a device is told what is desired of it."""
    return f"t/{tenant}/{device}/state/desired"
