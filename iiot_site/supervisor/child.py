"""One supervised process: start, readiness, restart with back-off, stop."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from iiot_site.supervisor.guardian import RUN_VARIABLE, marked_processes, signal_all

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS, _STEADY_SECONDS = 1.0, 5.0, 60.0
_LOG_BYTES = 10_000_000


class State(StrEnum):
    """What `status.json` says of a process."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting to restart"
    STOPPED = "stopped"
    EXTERNAL = "external"
    OFF = "off"


async def _always() -> bool:
    return True


class RunningProcess(Protocol):
    """A process that was started: `asyncio.subprocess.Process`, or one that the fork server watches."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signal: int, /) -> None: ...


async def run_program(spec: "ProcessSpec", output: int, *, stdin: int = asyncio.subprocess.DEVNULL) -> RunningProcess:
    """Start a process in a session of its own; `output` is the descriptor of its log."""
    return await asyncio.create_subprocess_exec(
        *spec.argv, stdin=stdin, stdout=output, stderr=output, cwd=spec.cwd, env=dict(spec.env), start_new_session=True
    )


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to run one process and how to know that it serves."""

    name: str
    argv: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]] = _always
    before_start: Callable[[], None] = field(default=lambda: None)
    launch: Callable[["ProcessSpec", int], Awaitable[RunningProcess]] = run_program
    stop_signal: signal.Signals = signal.SIGTERM
    force_signal: signal.Signals = signal.SIGKILL


def next_delay(previous_seconds: float, *, uptime_seconds: float) -> float:
    """Return how long to wait before the next start: 1 s, doubled up to 5 s, from the start again after a minute up."""
    if previous_seconds == 0 or uptime_seconds >= _STEADY_SECONDS:
        return _FIRST_DELAY_SECONDS
    return min(previous_seconds * 2, _LONGEST_DELAY_SECONDS)


def die_with_parent(argv: tuple[str, ...], stop_signal: signal.Signals) -> tuple[str, ...]:
    """Wrap a command so that the kernel signals it when the supervisor dies (PR_SET_PDEATHSIG).

    Put it innermost: the setting is lost when credentials change, as in `unshare --user` or `setpriv --reuid`.
    """
    setpriv = shutil.which("setpriv")
    name = stop_signal.name.removeprefix("SIG")
    return (setpriv, "--pdeathsig", name, "--", *argv) if setpriv else argv


def open_log(path: Path) -> int:
    """Open a log for appending; keep one older generation when it has grown large."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def shrink_log(path: Path) -> None:
    """Move a large log's content aside while a process keeps appending to it."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)


class Child:
    """Keeps one process running until told to stop."""

    def __init__(self, spec: ProcessSpec, on_change: Callable[["Child", str], None]) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self.since = time.time()
        self.restarts = 0
        self.ready = asyncio.Event()
        self._on_change = on_change
        self._process: RunningProcess | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running process, if any."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        """Begin to supervise."""
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.spec.name}")

    async def stop(self, *, timeout_seconds: float) -> None:
        """Stop the process and what it left behind; by force after the time-out."""
        self._stop.set()
        if self._task is None:
            return
        if self._process and self._process.returncode is None:
            self._send(self.spec.stop_signal)
        done, _ = await asyncio.wait([self._task], timeout=timeout_seconds)
        if not done:
            self._send(self.spec.force_signal)
            await asyncio.wait([self._task], timeout=1)
        self._end_leftovers()
        self._set(State.STOPPED)

    def force(self) -> None:
        """End the process now."""
        self._stop.set()
        self._send(self.spec.force_signal)

    def _send(self, signal_number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal_number)

    async def _supervise(self) -> None:
        delay_seconds = 0.0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code = await self._run_once()
            except OSError as error:  # the program vanished, or may not be executed
                code = error.errno or -1
            if self._stop.is_set():
                return
            self._end_leftovers()
            delay_seconds = next_delay(delay_seconds, uptime_seconds=time.monotonic() - started)
            self.restarts += 1
            self._set(State.WAITING, f"stopped ({describe_exit(code)}); again in {delay_seconds:.0f} s, see {self.spec.log}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay_seconds)

    async def _run_once(self) -> int:
        self.spec.before_start()
        log = open_log(self.spec.log)
        try:
            self._process = await self.spec.launch(self.spec, log)
        finally:
            os.close(log)
        if self._stop.is_set():
            self._send(self.spec.stop_signal)
        self._set(State.STARTING)
        watcher = asyncio.create_task(self._watch_readiness())
        try:
            return await self._process.wait()
        finally:
            watcher.cancel()
            self.ready.clear()

    async def _watch_readiness(self) -> None:
        while not await self.spec.is_ready():
            await asyncio.sleep(0.05)
        self.ready.set()
        self._set(State.READY, "running again" if self.restarts else "")

    def _end_leftovers(self) -> None:
        """End what outlived the process, such as a pool's workers: everything of its session."""
        if self._process and (run_id := self.spec.env.get(RUN_VARIABLE)):
            signal_all(marked_processes(f"{RUN_VARIABLE}={run_id}", session=self._process.pid), signal.SIGKILL)

    def _set(self, state: State, message: str = "") -> None:
        self.state, self.since = state, time.time()
        self._on_change(self, message)


def describe_exit(code: int) -> str:
    """Say how a process ended: its exit code or the signal's name."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
