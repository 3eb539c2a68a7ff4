"""Names and rights of logins at the MQTT broker: the platform's own, and those of devices.

A device logs in as `<tenant>/<device>`, or with `~2` behind it: a broker knows one password per name, so while a device
changes its password it has two names (docs/decisions/0008). For each certificate of a device it knows a name with the start of
the fingerprint behind the `~` (docs/decisions/0012). `~` cannot stand in a device's key.
"""

from collections.abc import Iterable

PLATFORM_USER = "iiot-platform"
DEVICE_WRITES = ("telemetry", "status", "commands/response", "state/reported", "state/get")
DEVICE_READS = ("commands", "state/desired", "alerts")
_MARK = "~"
_SECOND = f"{_MARK}2"
_FINGERPRINT_DIGITS = 16


def second_login(username: str) -> str:
    """Return the other name of a device's first login."""
    return username + _SECOND


def is_second_login(username: str) -> bool:
    """Tell whether this is a device's second name."""
    return username.endswith(_SECOND)


def certificate_login(username: str, fingerprint: str) -> str:
    """Return the name under which a device is known while it shows the certificate with this fingerprint (hex)."""
    return f"{username}{_MARK}{fingerprint[:_FINGERPRINT_DIGITS]}"


def first_login(username: str) -> str:
    """Return `<tenant>/<device>` for any name of a device; topics are made from it."""
    return username.partition(_MARK)[0]


def sparkplug_writes(tenant: str, device: str) -> list[str]:
    """Return the Sparkplug topics of an edge node; its group is the tenant. Devices behind it have one more level."""
    of_node = [f"spBv1.0/{tenant}/{kind}/{device}" for kind in ("NBIRTH", "NDATA", "NDEATH")]
    return of_node + [f"spBv1.0/{tenant}/{kind}/{device}/+" for kind in ("DBIRTH", "DDATA", "DDEATH")]


def sparkplug_reads(tenant: str, device: str) -> list[str]:
    """Return the topics on which an edge node gets its commands."""
    return [f"spBv1.0/{tenant}/NCMD/{device}", f"spBv1.0/{tenant}/DCMD/{device}/+"]


def acl_text(usernames: Iterable[str]) -> str:
    """Return mosquitto's ACL file: patterns for every name, and lines of their own for what no pattern can say.

    That are the topics of other names than the first, and Sparkplug's, where tenant and device are not side by side.
    """
    lines = [f"user {PLATFORM_USER}", "topic readwrite #", "topic read $SYS/#", ""]
    lines += [f"pattern write t/%u/{part}" for part in DEVICE_WRITES]
    lines += [f"pattern read t/%u/{part}" for part in DEVICE_READS]
    for username in sorted(set(usernames) - {PLATFORM_USER}):
        tenant, _, device = first_login(username).partition("/")
        lines += ["", f"user {username}"]
        lines += [f"topic write {topic}" for topic in sparkplug_writes(tenant, device)]
        lines += [f"topic read {topic}" for topic in sparkplug_reads(tenant, device)]
        if username != first_login(username):
            lines += [f"topic write t/{first_login(username)}/{part}" for part in DEVICE_WRITES]
            lines += [f"topic read t/{first_login(username)}/{part}" for part in DEVICE_READS]
    return "\n".join(lines) + "\n"
