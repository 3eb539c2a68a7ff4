"""Which addresses the platform may connect to when a tenant's admin names a machine in the plant.

Machines stand in private networks, so those are the default. What runs beside the platform (loopback) and what a cloud
keeps on link-local addresses is no machine, and several tenants share this host: closed unless the installation says so.

An entry is a network (CIDR), or an IPv4 address with the one port that is open there: 127.0.0.1:4841.
"""

import ipaddress
import socket
from collections.abc import Sequence

from iiot_site.lib.errors import IIoTError

DEFAULT_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class OutsidePlantError(IIoTError):
    """An address that the platform does not connect to for tenants."""

    code = "outside_plant"
    http_status = 400


def resolve_in_plant(host: str, port: int, *, networks: Sequence[str]) -> str:
    """Return the address that `host` has now; connect to this one, not to the name, which may change its mind.

    Port 0 stands for one that is not known yet.

    Raises:
        OutsidePlantError: it has none, or one outside `networks`.
    """
    allowed = [network for network, open_port in map(_parse, networks) if open_port is None or port in (0, open_port)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise OutsidePlantError(f"The name {host[:80]!r} has no address; check the spelling.") from exc
    for *_, address in found:
        if _is_inside(str(address[0]), allowed):
            return str(address[0])
    raise OutsidePlantError(
        f"{host[:80]!r} lies outside the plant's networks. Whoever runs the platform adds its network to IIOT_PLANT_NETWORKS."
    )


def _parse(entry: str) -> tuple[Network, int | None]:
    address, _, port = entry.rpartition(":")
    if "." in address and port.isdigit():
        return ipaddress.ip_network(address), int(port)
    return ipaddress.ip_network(entry), None


def _is_inside(text: str, allowed: Sequence[Network]) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in allowed)
