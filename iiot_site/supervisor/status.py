"""`run/status.json`: what the supervisor's processes are doing, for pages, `doctor` and scripts."""

import datetime as dt
import json
from pathlib import Path

from iiot_site.supervisor.child import Child, State
from iiot_site.supervisor.data_folder import write_private


class StatusFile:
    """Rewritten at once whenever something changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, object]] = {}

    def update(self, child: Child) -> None:
        """Take over a child's state."""
        self._entries[child.spec.name] = {
            "state": child.state,
            "pid": child.pid,
            "restarts": child.restarts,
            "since": dt.datetime.fromtimestamp(child.since, dt.UTC).isoformat(timespec="milliseconds"),
            "log": str(child.spec.log),
        }
        self._write()

    def note(self, name: str, state: State) -> None:
        """Note a server which is not ours to watch, or is off."""
        since = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        self._entries[name] = {"state": state, "pid": None, "restarts": 0, "since": since, "log": ""}
        self._write()

    def _write(self) -> None:
        write_private(self._path, json.dumps(self._entries, indent=1) + "\n")
