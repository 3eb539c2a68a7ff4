"""Which addresses the platform may connect to when a tenant's admin names a machine in the plant.

Machines stand in private networks, so those are the default. What runs beside the platform (loopback) and what a cloud
keeps on link-local addresses is no machine, and several tenants share this host: closed unless the installation says so.
That goes for the addresses this host has in the plant's networks, too: they are open only where an entry names that very one.

An entry is a network (CIDR), or an IPv4 address with the one port that is open there: 127.0.0.1:4841.
"""

import ipaddress
import socket
from collections.abc import Collection, Sequence

import psutil

from iiot_site.lib.errors import IIoTError

DEFAULT_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    own = {ipaddress.ip_address(text) for text in list_own_addresses()}
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise OutsidePlantError(f"The name {host[:80]!r} has no address; check the spelling.") from exc
    for *_, address in found:
        if _is_open(str(address[0]), allowed, own):
            return str(address[0])
    raise OutsidePlantError(
        f"{host[:80]!r} lies outside the plant's networks. Whoever runs the platform adds its network to IIOT_PLANT_NETWORKS."
    )


def _parse(entry: str) -> tuple[Network, int | None]:
    address, _, port = entry.rpartition(":")
    if "." in address and port.isdigit():
        return ipaddress.ip_network(address), int(port)
    return ipaddress.ip_network(entry), None


def list_own_addresses() -> list[str]:
    """Return the addresses of this host's network interfaces, without loopback's."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = [entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def _is_open(text: str, allowed: Sequence[Network], own: Collection[Address]) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network and (address not in own or network.num_addresses == 1) for network in allowed)
