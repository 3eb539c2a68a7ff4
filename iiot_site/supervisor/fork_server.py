"""Loads a Python program's modules once and forks its processes: `python -m iiot_site.supervisor.fork_server MODULE`.

Loading Django takes a second of a core and 70 MiB; seven processes that load it at once hold up a start by six seconds.
Standard input is a socket of packets from the supervisor, see `forks`. Requests come as JSON with descriptors for the
process's output and errors; answers tell its pid and, later, how it ended. Processes die with this one, and this one with the supervisor.

Source: prctl(2), PR_SET_PDEATHSIG and PR_SET_NAME.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

REQUEST_BYTES = 131_072
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_NAME_BYTES = 15
_NO_PROCESS = -1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run: the words after `python`, as a command line has them (`-m MODULE …` or `SCRIPT …`)."""

    number: int
    name: str
    words: list[str]
    env: dict[str, str]
    cwd: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`number` 0 says that all is loaded; an `exit_code` that the process `pid` has ended; no `pid` that none could be made."""

    number: int = 0
    pid: int = 0
    exit_code: int | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass
class ForkServer:
    """Serves one supervisor. `serve` returns in each forked process what it has to run, and in the server itself None."""

    link: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> Request | None:
        wakeup, theirs = socket.socketpair()
        for end in (wakeup, theirs):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the descriptor is written to
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        with wakeup, theirs, self.selector:
            self.selector.register(self.link, selectors.EVENT_READ)
            self.selector.register(wakeup, selectors.EVENT_READ)
            self._answer(Answer())
            while True:
                ready = [key.fileobj for key, _ in self.selector.select()]
                if wakeup in ready:
                    wakeup.recv(1024)
                    self._report_ended()
                if self.link in ready:
                    packet, descriptors, _, _ = socket.recv_fds(self.link, REQUEST_BYTES, 2)
                    if not packet:
                        return None  # the supervisor is gone
                    request = Request(**json.loads(packet))
                    if self._fork(request, *descriptors):
                        signal.set_wakeup_fd(-1)
                        return request

    def _fork(self, request: Request, output: int, errors: int) -> bool:
        """Fork; tell in which of the two processes we are."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # no memory, or too many processes; those that run must not end for it
            pid = _NO_PROCESS
        if pid == 0:
            become(request, output=output, errors=errors, parent=parent)
            self.link.close()
            return True
        os.close(output)
        os.close(errors)
        self._answer(Answer(number=request.number, pid=max(pid, 0)))
        return False

    def _report_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._answer(Answer(pid=pid, exit_code=os.waitstatus_to_exitcode(status)))

    def _answer(self, answer: Answer) -> None:
        self.link.send(answer.encode())


def become(request: Request, *, output: int, errors: int, parent: int) -> None:
    """Turn a fork into a process of its own: session, signals, output, environment, name."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(source, target)
    for descriptor in (nothing, output, errors):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request.env)
    os.chdir(request.cwd)
    _prctl(_PR_SET_NAME, ctypes.c_char_p(request.name.encode()[:_NAME_BYTES]))


def _prctl(option: int, value: Any) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def run(words: list[str]) -> None:
    """Run a module or a script as Python's command line would."""
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def main(module: str) -> Callable[[], None] | None:
    """Load, then serve; return what a forked process has to do."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    link = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    importlib.import_module(module)
    gc.collect()
    gc.freeze()  # each page that the collector marks would be copied
    request = ForkServer(link).serve()
    return None if request is None else lambda: run(request.words)


if __name__ == "__main__":
    if work := main(sys.argv[1]):
        work()
