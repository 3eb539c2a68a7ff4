"""Carries commands out by writing nodes of plants' servers: a command's state is what the server says of the write.

In the dispatcher's thread; the writing itself is done on the sessions' loop. What the server refuses has failed; where it
cannot be reached the command waits.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from asyncua.ua.uaerrors import UaStatusCodeError
from django.utils import timezone

from connections.opcua_selectors import find_command_node
from connections.opcua_types import OpcUaCommandNode
from devices.command_services import mark_sent, record_response
from devices.types import CommandRef
from iiot_site.lib.schemas import current_schema
from protocols.opcua.errors import OpcUaError
from protocols.opcua.node_ids import UnknownNodeError
from protocols.opcua.node_values import UnfitValueError, pick_value
from protocols.opcua.session import ServerSession
from protocols.opcua.values import Scaling

WRITE_SECONDS = 5.0
STALLED_SECONDS = 30.0  # a server that did not answer holds up the others' commands no longer than once in this time
# Codes that say nothing about the command itself.
_PASSING = frozenset({"BadTimeout", "BadRequestTimeout", "BadServerHalted", "BadShutdown", "BadTooManyOperations", "BadOutOfService"})
Key = tuple[str, int]  # schema, server id


class NodeCommands:
    """`sessions` are the listener's own, which change while we look."""

    def __init__(self, sessions: Mapping[Key, ServerSession], loop: asyncio.AbstractEventLoop) -> None:
        self._sessions = sessions
        self._loop = loop
        self._stalled_until: dict[Key, float] = {}

    def send(self, _tenant: str, command: CommandRef) -> bool:
        """Write a command of the current tenant; True once it is answered, by the server or by us."""
        node = find_command_node(device_key=command.device_key, command=command.name)
        if node is None:
            _answer(command, error=f"No node of an enabled OPC UA server is written by the command {command.name!r} of this device.")
            return True
        key = (current_schema(), node.server_id)
        session = self._sessions.get(key)
        if session is None or time.monotonic() < self._stalled_until.get(key, 0.0):
            return False
        try:
            value = pick_value(command.payload)
            self._write(session, node, value)
        except TimeoutError:
            self._stalled_until[key] = time.monotonic() + STALLED_SECONDS
            return False
        except (OpcUaError, OSError):
            return False
        except (UnfitValueError, UnknownNodeError) as exc:
            _answer(command, error=str(exc))
        except UaStatusCodeError as exc:
            if type(exc).__name__ in _PASSING:
                return False
            _answer(command, error=f"The server answered: {type(exc).__name__}.")
        else:
            _answer(command, data={"server": session.target.name, "node_id": node.node_id, "value": value})
        return True

    def _write(self, session: ServerSession, node: OpcUaCommandNode, value: bool | float | str) -> None:
        work = session.write_node(node.node_id, value, Scaling(node.scale, node.offset))
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(timeout=WRITE_SECONDS)
        finally:
            future.cancel()


def _answer(command: CommandRef, *, data: Any = None, error: str = "") -> None:
    now = timezone.now()
    mark_sent(command_ids=[command.id], now=now)
    record_response(device_key=command.device_key, command_id=command.id, is_done=not error, data=data, error=error, now=now)
