"""Runs a listener in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from django.db import connections

from tests.waiting import WAIT_SECONDS, wait_until


class _Listener(Protocol):
    def run(self) -> None: ...
    def request_stop(self) -> None: ...


T = TypeVar("T", bound=_Listener)


@contextmanager
def running(listener: T, *, ready_file: Path | None = None) -> Iterator[T]:
    """Run it until the context ends, which stops it as SIGTERM would; enter once it has made `ready_file`."""

    def work() -> None:
        try:
            listener.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        if ready_file is not None:
            wait_until(ready_file.exists)
        yield listener
    finally:
        listener.request_stop()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
