"""Who may do what on the broker: the rules of mosquitto's ACL file, as a function for the broker written in Python."""

from iiot_site.lib.broker_logins import DEVICE_READS, DEVICE_WRITES, PLATFORM_USER, first_login


def may_publish(username: str, topic: str) -> bool:
    """Tell whether this login may publish to the topic."""
    return username == PLATFORM_USER or _own_part(username, topic) in DEVICE_WRITES


def may_receive(username: str, topic: str) -> bool:
    """Tell whether this login may be handed a message of the topic."""
    return username == PLATFORM_USER or _own_part(username, topic) in DEVICE_READS


def may_subscribe(username: str, topic_filter: str) -> bool:
    """Tell whether this login may subscribe at all; each delivery is checked again."""
    return username == PLATFORM_USER or _own_part(username, topic_filter) is not None


def _own_part(username: str, topic: str) -> str | None:
    prefix = f"t/{first_login(username)}/"
    is_plain = username and not set(username) & set("+#")
    return topic.removeprefix(prefix) if is_plain and topic.startswith(prefix) else None
