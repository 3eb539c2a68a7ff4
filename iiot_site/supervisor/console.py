"""What the person at the terminal reads: one line per step."""

import sys
import time
from pathlib import Path


class Console:
    """Tidy lines on standard output (`up`) or standard error (`with_servers`, whose output belongs to its command)."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout
        self._started = time.monotonic()

    def line(self, text: str = "") -> None:
        """Write one line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def step(self, name: str, text: str) -> None:
        """Write what a step or server came to, with the time since the start."""
        self.line(f"{time.monotonic() - self._started:6.1f} s  {name:<12} {text}")


def tail(path: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log, indented."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
