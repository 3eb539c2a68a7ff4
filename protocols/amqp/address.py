"""The broker's address as `amqp://user:password@host:port/vhost` or `amqps://…` (rabbitmq.com/uri-spec.html). Pure."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how the platform logs in there."""

    host: str
    port: int
    username: str
    password: str
    virtual_host: str
    uses_tls: bool


def parse_broker_url(url: str) -> BrokerAddress:
    """Take a broker's URL apart.

    Raises:
        ValueError: it is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("AMQP_URL must look like amqp://user:password@host:5672/%2F or amqps://…")
    return BrokerAddress(
        host=parts.hostname,
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        uses_tls=parts.scheme == "amqps",
    )
