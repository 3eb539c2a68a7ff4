"""The edge nodes of a listener: what they have said, kept across restarts, and when they are asked to say it again."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, DataError

from protocols.models import SparkplugNode
from protocols.services import save_aliases
from protocols.sparkplug.naming import NodeState, is_over, put_names, rebirth_command
from protocols.sparkplug.topics import SparkplugAddress

logger = logging.getLogger(__name__)

# A node that keeps sending what cannot be understood is not asked with every message.
ASK_AGAIN_SECONDS = 10.0
# On a broker that lets a device publish under any node's name, names must not pile up. The oldest gives way, and is asked again.
MAX_NODES = 20_000


class EdgeNodes:
    """Names metrics in the thread that reads the socket; `save` keeps for the next process what births have named."""

    def __init__(self, publish: Callable[[str, bytes], object]) -> None:
        self._publish = publish
        self._states: dict[tuple[str, str], NodeState] = {}
        self._unsaved: set[tuple[str, str]] = set()
        self._asked_at: dict[str, float] = {}

    def load(self) -> None:
        """Remember what earlier processes were told; raises django.db.Error where the database is away."""
        for group, node, aliases in SparkplugNode.objects.values_list("group", "node", "aliases"):
            self._states[group, node] = NodeState({int(alias): name for alias, name in aliases.items()})

    def take(self, frame: bytes, address: SparkplugAddress, *, is_repeated: bool) -> bytes:
        """Return the frame with names in it; ask the node for a rebirth where some are not known."""
        key = (address.group, address.node)
        state = self._find(key)
        try:
            named = put_names(state, address, frame, is_repeated=is_repeated, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)
        except Exception:  # the listener's loop: one frame must not end the thread that reads everybody's
            logger.exception("a frame of %s could not be read; it goes on as it is", address.node)
            return frame
        if named.has_new_aliases:
            self._unsaved.add(key)
        if named.asks_for_birth:
            self._ask(address)
        return named.payload

    def is_over(self, frame: bytes, address: SparkplugAddress, *, is_repeated: bool) -> bool:
        """Take a death certificate; return whether it is that of the session that the node's last birth began."""
        if address.device:
            self.take(frame, address, is_repeated=is_repeated)  # a DDEATH is numbered as data is, an NDEATH is not (§6.4.2.2)
        return is_over(self._find((address.group, address.node)), address, frame, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)

    def _find(self, key: tuple[str, str]) -> NodeState:
        state = self._states.get(key)
        if state is None:
            while len(self._states) >= MAX_NODES:
                self._states.pop(next(iter(self._states)))
            state = self._states[key] = NodeState()
        return state

    def save(self) -> None:
        """Save what is new since the last time; raises django.db.Error where the database is away. For the main thread.

        What a process that is killed had not saved, the next one asks for.
        """
        for key in list(self._unsaved):
            self._unsaved.discard(key)  # before the look: what comes meanwhile is saved next time
            if (state := self._states.get(key)) is None:
                continue
            try:
                save_aliases(group=key[0], node=key[1], aliases=state.aliases.copy())
            except DataError as exc:  # a name the database does not take
                logger.warning("the aliases of %s are not kept: %s", key[1], exc)
            except DatabaseError:
                self._unsaved.add(key)
                raise

    def _ask(self, address: SparkplugAddress) -> None:
        now = time.monotonic()
        if now - self._asked_at.get(address.rebirth_topic, -ASK_AGAIN_SECONDS) >= ASK_AGAIN_SECONDS:
            if len(self._asked_at) >= MAX_NODES:
                self._asked_at.clear()
            self._asked_at[address.rebirth_topic] = now
            self._publish(address.rebirth_topic, rebirth_command())
