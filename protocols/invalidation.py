"""Forgets, in a listener, what somebody has just changed: PostgreSQL tells at commit (NOTIFY, sent by `iiot_site.lib.lookups`)."""

import logging
import threading
from collections.abc import Sequence

import psycopg

from iiot_site.lib.lookups import CHANNEL, begin_generation
from protocols.notices import listen_to, take_notices
from protocols.resolution import forget_device, forget_tenant, set_followed

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.1


class ChangeFollower:
    """A thread that follows changes until it is stopped. While it cannot, what is known is kept only for seconds."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=RETRY_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (psycopg.Error, OSError) as exc:
                logger.warning("changes are not followed for the moment: %s", exc)
            finally:
                set_followed(False)
            self._stopping.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with listen_to(CHANNEL) as notices:
            set_followed(True)
            while not self._stopping.is_set():
                _forget(take_notices(notices, wait_seconds=_POLL_SECONDS))


def _forget(payloads: Sequence[str]) -> None:
    """Forget what these name: `<schema> <device key>`, or all of a tenant where the key is empty."""
    for schema in {payload.partition(" ")[0] for payload in payloads}:
        begin_generation(schema)  # first, so that nothing old is found there afterwards
    for payload in dict.fromkeys(payloads):
        schema, _, device = payload.partition(" ")
        if device:
            forget_device(schema, device)
        else:
            forget_tenant(schema)
