"""Ports of private servers: the same at every start, unless a foreign process took one.

RabbitMQ listens seconds after its port was chosen. So that two platforms that start together do not choose the same one, each
claims what it chose as long as it runs: by a name among the host's abstract Unix sockets, which ends with the process.
Source: unix(7), "abstract" (Linux only; elsewhere nothing is claimed).
"""

import errno
import json
import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from iiot_site.supervisor.data_folder import write_private
from iiot_site.supervisor.errors import SupervisorError

# Below Linux's ephemeral range (32768 and up), so that no outgoing connection sits on a remembered port.
_FIRST, _LAST = 20_000, 29_999


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen there now, over TCP and over UDP."""
    return _can_bind(port, host, socket.SOCK_STREAM) and _can_bind(port, host, socket.SOCK_DGRAM)


def _can_bind(port: int, host: str, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


_claimed: dict[int, int] = {}  # ports of this process, with the descriptors that claim them


def claim(port: int) -> bool:
    """Take the port for this process; False where another platform on this host has it."""
    if sys.platform != "linux" or port in _claimed:
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0iiot-port-{port}")
    except OSError as exc:
        name.close()
        return exc.errno != errno.EADDRINUSE  # where names cannot be claimed at all, ports are chosen without
    _claimed[port] = name.detach()
    return True


def is_ours(port: int) -> bool:
    """Tell whether a server of this process could listen there, now or when it is ready to."""
    return is_free(port) and claim(port)


class PortBook:
    """Remembers in a file which port each server has."""

    def __init__(self, path: Path, *, is_free: Callable[[int], bool] = is_ours) -> None:
        self._path = path
        self._is_free = is_free
        self._ports: dict[str, int] = {}
        if path.exists():
            self._ports = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}

    def port_for(self, name: str, *, preferred: int | None = None) -> int:
        """Return the remembered port, else the preferred one, else a random free one; remember the answer."""
        taken = {port for owner, port in self._ports.items() if owner != name}
        wanted = [port for port in (self._ports.get(name), preferred) if port and port not in taken]
        port = next(filter(self._is_free, wanted), None) or self._random_port(taken)
        if self._ports.get(name) != port:
            self._ports[name] = port
            write_private(self._path, json.dumps(self._ports, indent=1) + "\n")
        return port

    def _random_port(self, taken: set[int]) -> int:
        for _ in range(200):
            port = random.randint(_FIRST, _LAST)  # noqa: S311 - a port is no secret
            if port not in taken and self._is_free(port):
                return port
        raise SupervisorError(f"No free port between {_FIRST} and {_LAST} on 127.0.0.1.")
