"""The supervisor: holds the data folder, keeps children running, stops them in order, leaves nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from iiot_site.supervisor import guardian
from iiot_site.supervisor.child import Child, ProcessSpec, State, shrink_log
from iiot_site.supervisor.console import Console, tail
from iiot_site.supervisor.data_folder import DataFolder, FolderLock, write_private
from iiot_site.supervisor.errors import StepFailedError, StoppedError
from iiot_site.supervisor.guardian import RUN_VARIABLE
from iiot_site.supervisor.status import StatusFile

_STOP_PROCESSES_SECONDS, _STOP_SERVERS_SECONDS = 5.0, 4.0
_LOG_CHECK_SECONDS = 60


class Supervisor:
    """An async context: entering takes the data folder, leaving stops whatever was started.

    `stopping` is set by SIGINT, SIGTERM or SIGHUP; a second signal ends everything by force.
    """

    def __init__(self, folder: DataFolder, *, console: Console, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.console = console
        self.stopping = asyncio.Event()
        self.forcing = asyncio.Event()
        self.stop_signal: signal.Signals | None = None
        self.run_id = uuid.uuid4().hex
        self.env = {**env, RUN_VARIABLE: self.run_id, "IIOT_DATA_DIR": str(folder.root), "PYTHONUNBUFFERED": "1"}
        self.status = StatusFile(folder.status_file)
        self._lock = FolderLock(folder)
        self._servers: list[Child] = []
        self._processes: list[Child] = []
        self._guard_pipe = -1
        self._guardian: asyncio.subprocess.Process | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Supervisor":
        self.folder.create()
        self._lock.acquire()
        self.folder.secret("secret_key", size_bytes=48)  # Django's signing key
        await asyncio.to_thread(self._end_leftovers)
        await self._start_guardian()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signal_number, self._on_signal, signal_number)
        self._housekeeping = asyncio.create_task(self._shrink_logs())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopping.set()
        if self._housekeeping:
            self._housekeeping.cancel()
        await self._stop_all()
        await asyncio.to_thread(guardian.end_marked, f"{RUN_VARIABLE}={self.run_id}", term_seconds=0.5)
        with contextlib.suppress(BrokenPipeError):  # the guardian itself was killed
            os.write(self._guard_pipe, b"done")
        os.close(self._guard_pipe)
        if self._guardian:
            await self._guardian.wait()  # it holds the lock as well
        self._lock.release()

    def _end_leftovers(self) -> None:
        """End what a former supervisor of this folder left, if its guardian was killed too."""
        marks = (f"{RUN_VARIABLE}=", f"IIOT_DATA_DIR={self.folder.root}")
        if guardian.marked_processes(*marks):
            self.console.line("Waiting for the leftovers of a killed supervisor to end ...")
            guardian.end_marked(*marks)

    async def _start_guardian(self) -> None:
        reading, self._guard_pipe = os.pipe()
        self._guardian = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(Path(guardian.__file__)),
            self.run_id,
            stdin=reading,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != RUN_VARIABLE},
            pass_fds=(self._lock.fd,),
            start_new_session=True,
        )
        os.close(reading)

    def _on_signal(self, signal_number: signal.Signals) -> None:
        self.stop_signal = self.stop_signal or signal_number
        if self.stopping.is_set():
            self.console.line("Stopping by force ...")
            self.forcing.set()
            for child in (*self._processes, *self._servers):
                child.force()
        else:
            self.console.line("\nStopping ... (Ctrl-C again to force)")
            self.stopping.set()

    # --- children

    def start_server(self, spec: ProcessSpec) -> Child:
        """Start a server; it stops after all processes."""
        return self._start(spec, self._servers)

    def start_process(self, spec: ProcessSpec) -> Child:
        """Start a process of the platform; the last started stops first."""
        return self._start(spec, self._processes)

    def raise_if_stopping(self) -> None:
        """Give up a start that a signal or a failure elsewhere ended.

        Raises: StoppedError
        """
        if self.stopping.is_set():
            raise StoppedError("Stopped before everything was up.")

    def _start(self, spec: ProcessSpec, group: list[Child]) -> Child:
        self.raise_if_stopping()
        child = Child(spec, self._on_change)
        group.append(child)
        child.start()
        return child

    def _on_change(self, child: Child, message: str) -> None:
        self.status.update(child)
        if message and not self.stopping.is_set():
            self.console.step(child.spec.name, message)

    async def wait_ready(self, child: Child, *, timeout_seconds: float) -> None:
        """Wait until a child serves.

        Raises: StepFailedError with the end of its log, after the time-out or its third failed start.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while not child.ready.is_set():
            self.raise_if_stopping()
            if child.restarts > 2 or asyncio.get_running_loop().time() > deadline:
                raise StepFailedError(f"{child.spec.name} does not come up. The end of {child.spec.log}:\n{tail(child.spec.log)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ready.wait(), 0.2)

    async def _stop_all(self) -> None:
        await self._stop_in_order()
        servers = [child.stop(timeout_seconds=_STOP_SERVERS_SECONDS) for child in self._servers]
        await asyncio.gather(*servers)

    async def _stop_in_order(self) -> None:
        """Stop the processes, the last started first; those that take long share one deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOP_PROCESSES_SECONDS
        for child in reversed(self._processes):
            await child.stop(timeout_seconds=max(0.1, deadline - loop.time()))

    async def _shrink_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            for child in (*self._processes, *self._servers):
                shrink_log(child.spec.log)

    # --- servers' addresses

    def publish_addresses(self, addresses: Mapping[str, str]) -> None:
        """Hand the servers' addresses to children (environment) and to commands run by hand (file)."""
        self.env.update(addresses)
        write_private(self.folder.servers_file, json.dumps(dict(addresses), indent=1) + "\n")

    def note_server(self, name: str, state: State) -> None:
        """Note in the status file a server that is not ours, or off."""
        self.status.note(name, state)
