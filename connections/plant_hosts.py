"""Hosts of the plant as people write them: names, and addresses, which are checked at once."""

import ipaddress
import re
import socket

from django.conf import settings
from django.core.exceptions import ValidationError

from iiot_site.lib.plant_network import OutsidePlantError, resolve_in_plant

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")


def validate_host(value: str) -> None:
    """Accept what is written like a host name or an address."""
    if not _HOST_NAME.match(value) and not _is_address(value):
        raise ValidationError("Use a host name such as plc-7.plant.example or an address such as 10.0.4.17.")


def validate_in_plant(host: str, port: int) -> None:
    """Refuse an address outside the plant's networks. Names are looked up when the platform connects, but for localhost."""
    is_own = host.lower().rstrip(".").rpartition(".")[2] == "localhost"  # RFC 6761: this host, whatever stands before it
    if not is_own and not _is_address(host):
        return
    try:
        resolve_in_plant("127.0.0.1" if is_own else host, port, networks=settings.IIOT_PLANT_NETWORKS)
    except OutsidePlantError as exc:
        raise ValidationError(exc.detail) from exc


def _is_address(host: str) -> bool:
    """Tell whether a host is a number, in any spelling that the system takes for one (127.1, 0x7f000001)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.inet_aton(host)
        except (OSError, UnicodeError):
            return False
    return True
