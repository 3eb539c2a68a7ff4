"""What a process that lets devices in tells of itself: the listeners' page, health and metrics are made of it."""

import os
import platform

from django.utils import timezone

from iiot_site.lib.clock import clock_offset
from protocols.meter import Load
from protocols.services import Heartbeat, claim_number, record_heartbeat

HEARTBEAT_SECONDS = 3.0


class SelfReport:
    """One process under a number of its own. Both methods need the database, and raise its errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_at = timezone.now()
        self._number = 1

    def claim_number(self) -> None:
        """Take the number of a process that ended, or one more. Before the first `send`."""
        now = timezone.now() + clock_offset()
        self._number = claim_number(name=self._name, host=platform.node(), pid=os.getpid(), started_at=self._started_at, now=now)

    def send(self, *, state: str, load: Load, last_error: str, messages: int = 0, rejected: int = 0) -> None:
        """Tell how it does: connecting, connected or stopped."""
        offset = clock_offset()
        heartbeat = Heartbeat(
            name=self._name,
            host=platform.node(),
            pid=os.getpid(),
            state=state,
            started_at=self._started_at,
            messages=messages,
            rejected=rejected,
            last_error=last_error,
            clock_offset_seconds=offset.total_seconds(),
            load=load,
            number=self._number,
        )
        record_heartbeat(heartbeat=heartbeat, now=timezone.now() + offset)
