"""Waits for what other threads and processes bring about. The limits say when it is broken, not how fast it should be."""

import asyncio
import time
from collections.abc import Callable

WAIT_SECONDS = 60.0


def wait_until(is_true: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as it is true; fail when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


async def wait_until_async(is_true: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Do the same and let the event loop go on meanwhile."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
