"""Ends what a supervisor started when the supervisor itself was killed.

Runs as a process of its own (`python -I -S guardian.py RUN_ID`), with the standard library only. Its standard input is a
pipe from the supervisor: end of file without the word `done` means that the supervisor died. It keeps the lock on the
data folder until nothing is left. Processes are known by `IIOT_SUPERVISOR_RUN=<id>` in their environment, so nothing
foreign is ever signalled.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

RUN_VARIABLE = "IIOT_SUPERVISOR_RUN"
_TERM_SECONDS, _QUIT_SECONDS, _KILL_SECONDS = 3.0, 2.0, 3.0


def marked_processes(*marks: str, session: int | None = None) -> list[int]:
    """List processes of ours whose environment holds every mark (`NAME=value`, or `NAME=` for any value)."""
    wanted = [(mark if mark.endswith("=") else f"{mark}\0").encode() for mark in marks]
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            environment = b"\0" + Path(entry.path, "environ").read_bytes()
            if all(b"\0" + mark in environment for mark in wanted) and (session is None or os.getsid(int(entry.name)) == session):
                found.append(int(entry.name))
    return found


def signal_all(pids: list[int], signal_number: int) -> None:
    """Signal each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal_number)


def end_marked(*marks: str, term_seconds: float = _TERM_SECONDS) -> bool:
    """End every process that carries the marks: politely, then PostgreSQL at once but safely, then by force.

    Returns whether all are gone.
    """
    for signal_number, seconds in (
        (signal.SIGTERM, term_seconds),
        (signal.SIGQUIT, _QUIT_SECONDS),
        (signal.SIGKILL, _KILL_SECONDS),
    ):
        pids = marked_processes(*marks)
        for pid in pids:
            # SIGQUIT is PostgreSQL's immediate shutdown; for the others it would be a core dump.
            is_quit = signal_number == signal.SIGQUIT and not _is_postgres(pid)
            signal_all([pid], signal.SIGKILL if is_quit else signal_number)
        deadline = time.monotonic() + seconds
        while marked_processes(*marks):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return True
    return False


def _is_postgres(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    return False


def main(run_id: str) -> None:
    """Wait for the supervisor's end; clean up unless it said that it had done so itself."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    if b"done" not in sys.stdin.buffer.read():
        end_marked(f"{RUN_VARIABLE}={run_id}")


if __name__ == "__main__":
    main(sys.argv[1])
