"""Where the CoAP server listens. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoapAddress:
    """An address literal and a UDP port; 0 lets the system choose one."""

    host: str
    port: int

    @property
    def mapped_host(self) -> str:
        """The address as a socket that speaks both versions of IP knows it (RFC 4291 §2.5.5.2)."""
        return self.host if ":" in self.host else f"::ffff:{self.host}"


def show_peer(sockaddr: tuple[object, ...]) -> str:
    """Return `host:port` of a peer of such a socket."""
    host, port = str(sockaddr[0]).removeprefix("::ffff:"), sockaddr[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
