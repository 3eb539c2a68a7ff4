"""Sequence numbers that are never used twice, whatever becomes of the process (RFC 8613 §B.1.1).

A number is the milliseconds since 2025, or what follows the highest number ever reserved: with one key a nonce comes
again only if the file is lost and the clock is set back too. 40 bits of milliseconds last until 2059.
"""

import os
import tempfile
import time
from pathlib import Path

STEP = 1 << 16  # what is written down at once
RANGE = 1 << 8  # what one key gets of it
_START_MS = 1_735_689_600_000  # 2025-01-01


class SequenceFile:
    """Gives out ranges of numbers, none twice. The file has mode 600 in a folder of mode 700."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = range(0)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def reserve(self) -> range:
        """Return numbers that nobody used, once it is written down that they are taken."""
        if not self._left:
            self._left = self._write_down()
        taken, self._left = self._left[:RANGE], self._left[RANGE:]
        return taken

    def _write_down(self) -> range:
        first = max(time.time_ns() // 1_000_000 - _START_MS, self._read())
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".sequence.")
        with os.fdopen(handle, "w") as file:
            file.write(str(first + STEP))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self._path)
        return range(first, first + STEP)

    def _read(self) -> int:
        try:
            return int(self._path.read_text())
        except FileNotFoundError:
            return 0
