"""Names and rights of logins at the MQTT broker: the platform's own, and those of devices.

A device logs in as `<tenant>/<device>`, or with `~2` behind it: a broker knows one password per name, so while a device
changes its password it has two names (docs/decisions/0008). `~` cannot stand in a device's key.
"""

from collections.abc import Iterable

PLATFORM_USER = "iiot-platform"
DEVICE_WRITES = ("telemetry", "status", "commands/response")
DEVICE_READS = ("commands", "alerts")
_SECOND = "~2"


def second_login(username: str) -> str:
    """Return the other name of a device's first login."""
    return username + _SECOND


def is_second_login(username: str) -> bool:
    """Tell whether this is a device's second name."""
    return username.endswith(_SECOND)


def first_login(username: str) -> str:
    """Return `<tenant>/<device>` for either name of a device; topics are made from it."""
    return username.removesuffix(_SECOND)


def acl_text(usernames: Iterable[str]) -> str:
    """Return mosquitto's ACL file: patterns for every first name, lines of their own for those second names that exist."""
    lines = [f"user {PLATFORM_USER}", "topic readwrite #", "topic read $SYS/#", ""]
    lines += [f"pattern write t/%u/{part}" for part in DEVICE_WRITES]
    lines += [f"pattern read t/%u/{part}" for part in DEVICE_READS]
    for username in sorted(filter(is_second_login, usernames)):
        lines += ["", f"user {username}"]
        lines += [f"topic write t/{first_login(username)}/{part}" for part in DEVICE_WRITES]
        lines += [f"topic read t/{first_login(username)}/{part}" for part in DEVICE_READS]
    return "\n".join(lines) + "\n"
