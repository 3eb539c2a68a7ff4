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
PROCESS_VARIABLE = "IIOT_PROCESS"  # only processes of the platform itself have it
_OWN_SECONDS, _TERM_SECONDS, _QUIT_SECONDS, _KILL_SECONDS = 0.7, 3.0, 2.0, 3.0
_POLL_SECONDS = 0.05


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

    The platform's own processes get less time than servers, which write down what they hold: without a database a listener
    would wait for it, and nothing is lost with a process that is killed. Returns whether all are gone.
    """
    own_seconds = min(term_seconds, _OWN_SECONDS)
    phases = (
        (_terminate, own_seconds),
        (_kill_own, term_seconds - own_seconds),
        (_quit, _QUIT_SECONDS),
        (_kill, _KILL_SECONDS),
    )
    for end, seconds in phases:
        for pid in marked_processes(*marks):
            end(pid)
        deadline = time.monotonic() + seconds
        while marked_processes(*marks):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        else:
            return True
    return False


def _terminate(pid: int) -> None:
    signal_all([pid], signal.SIGTERM)


def _kill_own(pid: int) -> None:
    with contextlib.suppress(OSError):
        if f"\0{PROCESS_VARIABLE}=".encode() in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
            _kill(pid)


def _quit(pid: int) -> None:
    """Shut PostgreSQL down immediately; for the others SIGQUIT would be a core dump."""
    signal_all([pid], signal.SIGQUIT if _is_postgres(pid) else signal.SIGKILL)


def _kill(pid: int) -> None:
    signal_all([pid], signal.SIGKILL)


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
