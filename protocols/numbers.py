"""Which number a listener process reports under, so that one that was restarted goes on as itself beside others."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

SILENT_AFTER = timedelta(seconds=20)
FADED_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Known:
    """A process that reported before."""

    number: int
    host: str
    pid: int
    state: str
    heartbeat_at: datetime


def choose_number(known: Sequence[Known], *, host: str, pid: int, now: datetime) -> int:
    """Return the number of a process that ended on this host, else of one that ended anywhere, else the lowest that is free."""
    ended = [one for one in known if _has_ended(one, host, pid, now)]
    if ended:
        return min(ended, key=lambda one: (one.host != host, one.number)).number
    taken = {one.number for one in known}
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def _has_ended(one: Known, host: str, pid: int, now: datetime) -> bool:
    if one.host == host:
        return one.state == "stopped" or one.pid == pid or one.heartbeat_at < now - SILENT_AFTER or not is_running(one.pid)
    return one.heartbeat_at < now - (SILENT_AFTER if one.state == "stopped" else FADED_AFTER)  # it may be on its way back


def is_running(pid: int) -> bool:
    """Tell whether there is such a process on this host; one that has ended and waits for its parent to notice does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # no Linux, or it ended just now
        return True
