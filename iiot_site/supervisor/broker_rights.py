"""Who may do what on the broker: the rules of mosquitto's ACL file, as a function for the broker written in Python."""

from collections.abc import Callable

from iiot_site.lib.broker_logins import DEVICE_READS, DEVICE_WRITES, PLATFORM_USER, first_login, sparkplug_reads, sparkplug_writes


def may_publish(username: str, topic: str) -> bool:
    """Tell whether this login may publish to the topic."""
    return username == PLATFORM_USER or _own_part(username, topic) in DEVICE_WRITES or _is_among(topic, username, sparkplug_writes)


def may_receive(username: str, topic: str) -> bool:
    """Tell whether this login may be handed a message of the topic."""
    return username == PLATFORM_USER or _own_part(username, topic) in DEVICE_READS or _is_among(topic, username, sparkplug_reads)


def may_subscribe(username: str, topic_filter: str) -> bool:
    """Tell whether this login may subscribe at all; each delivery is checked again."""
    if username == PLATFORM_USER or _own_part(username, topic_filter) is not None:
        return True
    # Edge nodes by Eclipse Tahu's libraries ask for `spBv1.0/<group>/NCMD/<node>/#`.
    return any(topic_filter in {own, own.removesuffix("/+") + "/#"} for own in _own(username, sparkplug_reads))


def _own(username: str, topics: Callable[[str, str], list[str]]) -> list[str]:
    tenant, _, device = first_login(username).partition("/")
    return topics(tenant, device) if tenant and device and not set(username) & set("+#") else []


def _is_among(topic: str, username: str, topics: Callable[[str, str], list[str]]) -> bool:
    """Tell whether a topic is one of these; only their last level may be a wildcard."""
    start, _, last = topic.rpartition("/")
    return any(topic == own or (own.endswith("/+") and own[:-2] == start and bool(last)) for own in _own(username, topics))


def _own_part(username: str, topic: str) -> str | None:
    prefix = f"t/{first_login(username)}/"
    is_plain = username and not set(username) & set("+#")
    return topic.removeprefix(prefix) if is_plain and topic.startswith(prefix) else None
