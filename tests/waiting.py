"""Waits for what other threads and processes bring about."""

import time
from collections.abc import Callable

WAIT_SECONDS = 20.0


def wait_until(is_true: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as it is true; fail when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
