"""Topics of the platform's own MQTT conventions: `t/<tenant>/<device>/<channel>`. Pure."""

TELEMETRY_SUBSCRIPTION = "t/+/+/telemetry"


def parse_topic(topic: str) -> tuple[str, str, str] | None:
    """Return tenant, device and channel, or None where the topic is none of ours."""
    match topic.split("/"):
        case ["t", tenant, device, channel] if tenant and device and channel:
            return tenant, device, channel
    return None
