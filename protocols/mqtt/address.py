"""The broker's address as `mqtt://user:password@host:port` or `mqtts://…`. Pure."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how the platform logs in there."""

    host: str
    port: int
    username: str
    password: str
    uses_tls: bool


def parse_broker_url(url: str) -> BrokerAddress:
    """Take a broker's URL apart.

    Raises:
        ValueError: it is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("MQTT_URL must look like mqtt://user:password@host:1883 or mqtts://…")
    return BrokerAddress(
        host=parts.hostname,
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        uses_tls=parts.scheme == "mqtts",
    )
