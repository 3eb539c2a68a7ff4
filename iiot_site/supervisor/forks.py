"""The supervisor's side of the fork server: starts it, asks it for processes, learns how they end."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import signal
import socket
import sys
from pathlib import Path

from iiot_site.supervisor.child import ProcessSpec, RunningProcess, run_program
from iiot_site.supervisor.fork_server import REQUEST_BYTES, Answer, Request
from iiot_site.supervisor.servers import with_death_signal

_LOAD_SECONDS, _ANSWER_SECONDS = 30.0, 5.0  # a fork server that starts anew takes seconds to load, on a busy machine many
_REPORT_SECONDS = 2.0  # within which the fork server tells how a process ended that is seen to have ended
_SILENCES = 2  # requests in a row without an answer after which a fork server is taken to hang
LOST = -int(signal.SIGKILL)  # how a process ended whose fork server was killed: it is killed, too


class ForkedProcess:
    """A process that the fork server watches for us, and whose end we see ourselves, should the fork server hang."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._handle: int | None = None
        with contextlib.suppress(OSError):  # it has ended already
            self._handle = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._handle, self._see_end)

    def _see_end(self) -> None:
        self._let_go()
        asyncio.get_running_loop().call_later(_REPORT_SECONDS, self.end, LOST)

    def _let_go(self) -> None:
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None

    async def wait(self) -> int:
        await self._ended.wait()
        return LOST if self.returncode is None else self.returncode

    def send_signal(self, signal_number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def end(self, exit_code: int) -> None:
        """Take down how it ended; what is said first counts."""
        self._let_go()
        if self.returncode is None:
            self.returncode = exit_code
            self._ended.set()


class Forks:
    """One fork server and what it forked. `spec` is to be supervised like any process; `fork` starts others from it."""

    def __init__(self, module: str, *, load_seconds: float = _LOAD_SECONDS, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._module = module
        self._load_seconds = load_seconds
        self._answer_seconds = answer_seconds
        self._link: socket.socket | None = None
        self._server: RunningProcess | None = None
        self._silences = 0
        self._loaded = asyncio.Event()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._running: dict[int, ForkedProcess] = {}

    def spec(self, *, name: str, log: Path, cwd: Path, env: dict[str, str]) -> ProcessSpec:
        """Return how to run the fork server itself."""
        argv = (sys.executable, "-m", "iiot_site.supervisor.fork_server", self._module)

        async def is_loaded() -> bool:
            return self._loaded.is_set()

        spec = ProcessSpec(name=name, argv=argv, log=log, cwd=cwd, env=env, is_ready=is_loaded, launch=self._launch)
        return with_death_signal(spec)

    async def _launch(self, spec: ProcessSpec, output: int) -> RunningProcess:
        self._forget()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = await run_program(spec, output, stdin=theirs.fileno())
        self._link, self._server, self._silences = ours, process, 0
        asyncio.get_running_loop().add_reader(ours, self._read)
        return process

    async def fork(self, spec: ProcessSpec, output: int, errors: int | None = None) -> RunningProcess:
        """Start a Python process; `spec.argv` begins with the interpreter. Errors go where the output goes, unless told otherwise.

        Raises: OSError where the fork server is not there.
        """
        number = next(self._numbers)
        request = Request(number=number, name=spec.name, words=list(spec.argv[1:]), env=dict(spec.env), cwd=str(spec.cwd))
        packet = request.encode()
        if len(packet) > REQUEST_BYTES:
            raise OSError(errno.E2BIG, "the environment is too large")
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._load_seconds):
                await self._loaded.wait()
            async with asyncio.timeout(self._answer_seconds):
                if self._link is None:
                    raise OSError(errno.ECONNRESET, "the fork server ended")
                socket.send_fds(self._link, [packet], [output, output if errors is None else errors])
                process = self._running[await answer]
                self._silences = 0
                return process
        except TimeoutError:
            self._note_silence()
            raise OSError(errno.ETIMEDOUT, "the fork server does not answer") from None
        finally:
            self._waiting.pop(number, None)

    def _note_silence(self) -> None:
        """End a fork server that hangs: nothing that it forked could be started again."""
        self._silences += self._loaded.is_set()
        if self._silences >= _SILENCES and self._server is not None:
            self._server.send_signal(signal.SIGKILL)

    def _read(self) -> None:
        assert self._link is not None  # noqa: S101 - it is what we read from
        try:
            packet = self._link.recv(REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._forget()
            return
        answer = Answer(**json.loads(packet))
        if answer.exit_code is not None:
            if ended := self._running.pop(answer.pid, None):
                ended.end(answer.exit_code)
        elif answer.number == 0:
            self._loaded.set()
        else:
            self._take_answer(answer)

    def _take_answer(self, answer: Answer) -> None:
        waiting = self._waiting.get(answer.number)
        if answer.pid == 0:
            if waiting is not None and not waiting.done():
                waiting.set_exception(OSError(errno.EAGAIN, "the fork server could not make a process"))
            return
        process = self._running[answer.pid] = ForkedProcess(answer.pid)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.pid)
        else:  # nobody waits any more
            process.send_signal(signal.SIGKILL)

    def _forget(self) -> None:
        """Give up a fork server that ended. What it forked ends with it; what is slow to end is ended now."""
        self._loaded.clear()
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
            self._link = None
        for process in self._running.values():
            process.send_signal(signal.SIGKILL)
            process.end(LOST)
        self._running.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(OSError(errno.ECONNRESET, "the fork server ended"))
