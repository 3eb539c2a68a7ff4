"""The edge nodes of a listener: what they have said, kept across restarts, and when they are asked to say it again."""

import logging
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connection

from protocols.models import SparkplugNode
from protocols.services import save_aliases
from protocols.sparkplug.naming import NodeState, put_names, rebirth_command
from protocols.sparkplug.topics import SparkplugAddress

logger = logging.getLogger(__name__)

# A node that keeps sending what cannot be understood is not asked with every message.
ASK_AGAIN_SECONDS = 10.0


class EdgeNodes:
    """Names metrics in the thread that reads the socket; births are rare, so it may wait for the database there."""

    def __init__(self, publish: Callable[[str, bytes], object]) -> None:
        self._publish = publish
        self._states: dict[tuple[str, str], NodeState] = {}
        self._asked_at: dict[str, float] = {}

    def load(self) -> None:
        """Remember what earlier processes were told; raises django.db.Error where the database is away."""
        for group, node, aliases in SparkplugNode.objects.values_list("group", "node", "aliases"):
            self._states[group, node] = NodeState({int(alias): name for alias, name in aliases.items()})

    def take(self, frame: bytes, address: SparkplugAddress, *, is_repeated: bool) -> bytes:
        """Return the frame with names in it; ask the node for a rebirth where some are not known."""
        state = self._states.setdefault((address.group, address.node), NodeState())
        named = put_names(state, address, frame, is_repeated=is_repeated)
        if named.has_new_aliases:
            self._save(address, state)
        if named.asks_for_birth:
            self._ask(address)
        return named.payload

    def _save(self, address: SparkplugAddress, state: NodeState) -> None:
        try:
            save_aliases(group=address.group, node=address.node, aliases=state.aliases)
        except (DatabaseError, InterfaceError) as exc:  # known while this process lives; the next one asks for a birth
            logger.warning("the aliases of %s were not saved: %s", address.node, exc)
        finally:
            connection.close()  # nobody else looks after this thread's

    def _ask(self, address: SparkplugAddress) -> None:
        now = time.monotonic()
        if now - self._asked_at.get(address.rebirth_topic, -ASK_AGAIN_SECONDS) >= ASK_AGAIN_SECONDS:
            self._asked_at[address.rebirth_topic] = now
            self._publish(address.rebirth_topic, rebirth_command())
