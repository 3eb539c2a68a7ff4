"""What a poll brought, as the JSON message that a device would have sent. Pure.

A device that falls silent sends no value to store. So that a chart does not run on as if all were well, each of its
metrics gets one reading more when it breaks off: the last value, with quality bad. After that nothing until it answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from protocols.modbus.registers import Value

MAX_FRAME_BYTES = 64 * 1024


class LastValues:
    """The last good value of each metric of one device, and which metrics were marked bad since."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._bad: set[str] = set()

    def take(self, values: Mapping[str, Value | None]) -> dict[str, Any]:
        """Return what to store of values just read; None stands for one that could not be read."""
        taken: dict[str, Any] = {}
        for metric, value in values.items():
            if value is not None:
                self._values[metric] = taken[metric] = value
                self._bad.discard(metric)
            elif metric in self._values and metric not in self._bad:
                self._bad.add(metric)
                taken[metric] = {"value": self._values[metric], "quality": "bad"}
        return taken

    def lose_all(self) -> dict[str, Any]:
        """Return what to store when the device is gone: each last value once, as bad."""
        return self.take(dict.fromkeys(self._values))


def make_frames(parts: Sequence[tuple[int, Mapping[str, Any]]]) -> list[bytes]:
    """Return the values of one poll as few messages; each part is read at one time (ms since 1970)."""
    frames: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for ts, values in parts:
        if not values:
            continue
        part = msgspec.json.encode({"ts": ts, "values": values})
        if pending and size + len(part) > MAX_FRAME_BYTES:
            frames.append(b"[" + b",".join(pending) + b"]")
            pending, size = [], 0
        pending.append(part)
        size += len(part)
    if pending:
        frames.append(pending[0] if len(pending) == 1 else b"[" + b",".join(pending) + b"]")
    return frames
