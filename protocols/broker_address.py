"""A broker's address as a URL: `mqtt://user:password@host:port`, `amqp://user:password@host:port/vhost`, with an s for TLS. Pure.

Source: rabbitmq.com/uri-spec.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how the platform logs in there. Only AMQP has virtual hosts."""

    host: str
    port: int
    username: str
    password: str
    uses_tls: bool
    virtual_host: str = ""


def parse_mqtt_url(url: str) -> BrokerAddress:
    """Take an MQTT broker's URL apart.

    Raises:
        ValueError: it is no such URL.
    """
    return _parse(url, ports={"mqtt": 1883, "mqtts": 8883}, form="MQTT_URL must look like mqtt://user:password@host:1883 or mqtts://…")


def parse_amqp_url(url: str) -> BrokerAddress:
    """Take an AMQP broker's URL apart.

    Raises:
        ValueError: it is no such URL.
    """
    form = "AMQP_URL must look like amqp://user:password@host:5672/%2F or amqps://…"
    address = _parse(url, ports={"amqp": 5672, "amqps": 5671}, form=form, default_login="guest")
    return replace(address, virtual_host=unquote(urlsplit(url).path[1:]) or "/")


def _parse(url: str, *, ports: Mapping[str, int], form: str, default_login: str = "") -> BrokerAddress:
    """`ports` are the defaults by scheme, that of TLS ends in s."""
    parts = urlsplit(url)
    if parts.scheme not in ports or not parts.hostname:
        raise ValueError(form)
    return BrokerAddress(
        host=parts.hostname,
        port=parts.port or ports[parts.scheme],
        username=unquote(parts.username or default_login),
        password=unquote(parts.password or default_login),
        uses_tls=parts.scheme.endswith("s"),
    )
