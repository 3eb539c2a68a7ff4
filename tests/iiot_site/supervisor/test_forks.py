"""The fork server: what it forks is a process of its own, is watched, and never outlives it."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from iiot_site.supervisor.child import Child, ProcessSpec, open_log
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.fork_server import REQUEST_BYTES, ForkServer, Request
from iiot_site.supervisor.forks import Forks
from iiot_site.supervisor.guardian import end_marked
from iiot_site.supervisor.supervisor import Supervisor
from tests.waiting import WAIT_SECONDS, wait_until_async

PROJECT = Path(__file__).resolve().parents[3]
TELL = """
import json, os, sys
from pathlib import Path
told = {"words": sys.argv, "is_leader": os.getsid(0) == os.getpid(), "name": Path("/proc/self/comm").read_text().strip(),
        "is_loaded": "wave" in sys.modules, "cwd": os.getcwd(), "mark": os.environ.get("MARK"), "home": os.environ.get("HOME"),
        "descriptors": len(os.listdir("/proc/self/fd")), "parent": os.getppid()}
print(json.dumps(told), flush=True)
sys.exit(3)
"""
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


class Plant:
    """A supervisor with a fork server that has loaded one module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.supervisor = Supervisor(DataFolder(folder), console=Console(to_stderr=True), env=dict(os.environ))
        self.forks = Forks("wave")

    async def load(self) -> Child:
        log = self.folder / "log" / "loader.log"
        loader = self.supervisor.start_process(self.forks.spec(name="loader", log=log, cwd=PROJECT, env=self.supervisor.env))
        await self.supervisor.wait_ready(loader, timeout_seconds=WAIT_SECONDS)
        return loader

    def spec(self, name: str, code: str, *words: str) -> ProcessSpec:
        script = self.folder / f"{name}.py"
        script.write_text(code)
        log = self.folder / "log" / f"{name}.log"

        async def is_up() -> bool:
            return log.exists() and "up" in log.read_text()

        return ProcessSpec(
            name=name,
            argv=(sys.executable, str(script), *words),
            log=log,
            cwd=self.folder,
            env=self.supervisor.env,
            is_ready=is_up,
            launch=self.forks.fork,
        )


def test_a_fork_has_its_own_session_name_environment_and_output_and_its_exit_code_is_known(tmp_path: Path) -> None:
    async def story() -> tuple[int, int | None, int]:
        plant = Plant(tmp_path)
        async with plant.supervisor:
            loader = await plant.load()
            spec = plant.spec("tell-what-is", TELL, "a", "b c")
            spec = replace(spec, env={**{name: value for name, value in spec.env.items() if name != "HOME"}, "MARK": "this"})
            log = open_log(spec.log)
            process = await plant.forks.fork(spec, log)
            os.close(log)
            return await process.wait(), loader.pid, process.pid

    code, loader, _ = asyncio.run(story())
    assert code == 3
    assert json.loads((tmp_path / "log" / "tell-what-is.log").read_text()) == {
        "words": [str(tmp_path / "tell-what-is.py"), "a", "b c"],
        "is_leader": True,
        "name": "tell-what-is",
        "is_loaded": True,
        "cwd": str(tmp_path),
        "mark": "this",
        "home": None,
        "descriptors": 4,  # the three of every process, and the folder just read
        "parent": loader,
    }


def test_a_fork_is_started_again_like_any_process_and_stopped_with_the_supervisor(tmp_path: Path) -> None:
    async def story() -> int:
        plant = Plant(tmp_path)
        async with plant.supervisor:
            await plant.load()
            child = plant.supervisor.start_process(plant.spec("sleeper", SLEEP))
            await plant.supervisor.wait_ready(child, timeout_seconds=WAIT_SECONDS)
            first = child.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await wait_until_async(lambda: child.pid not in (None, first))
            assert child.pid is not None
            return child.pid

    second = asyncio.run(story())
    assert not Path(f"/proc/{second}").exists()


def test_a_killed_fork_server_takes_its_processes_along_and_all_come_up_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        plant = Plant(tmp_path)
        async with plant.supervisor:
            loader = await plant.load()
            child = plant.supervisor.start_process(plant.spec("sleeper", SLEEP))
            await plant.supervisor.wait_ready(child, timeout_seconds=WAIT_SECONDS)
            first = child.pid
            assert first is not None
            assert loader.pid is not None
            os.kill(loader.pid, signal.SIGKILL)
            await wait_until_async(lambda: child.pid not in (None, first))
            await wait_until_async(lambda: not Path(f"/proc/{first}").exists())
            await plant.supervisor.wait_ready(child, timeout_seconds=WAIT_SECONDS)

    asyncio.run(story())
    assert "sleeper      stopped (SIGKILL); again in 1 s" in capsys.readouterr().err


def test_without_a_fork_server_a_start_fails_as_that_of_a_missing_program_does(tmp_path: Path) -> None:
    async def story() -> None:
        plant = Plant(tmp_path)
        async with plant.supervisor:
            with pytest.raises(OSError, match="does not answer"):
                await Forks("wave", load_seconds=0.1).fork(plant.spec("sleeper", SLEEP), 1)
            loader = await plant.load()
            huge = replace(plant.spec("sleeper", SLEEP), env={"A": "x" * 200_000})
            with pytest.raises(OSError, match="too large"):
                await plant.forks.fork(huge, 1)
            assert loader.pid is not None

    asyncio.run(story())


def test_a_fork_server_that_can_make_no_process_says_so_and_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    async def story() -> None:
        forks, (ours, theirs) = Forks("wave", answer_seconds=WAIT_SECONDS), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        forks._link = ours
        forks._loaded.set()
        asyncio.get_running_loop().add_reader(ours, forks._read)
        spec = ProcessSpec(name="none", argv=(sys.executable, "x.py"), log=Path("x.log"), cwd=PROJECT, env={})
        start = asyncio.create_task(forks.fork(spec, 1))
        await asyncio.sleep(0)
        packet, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, theirs, REQUEST_BYTES, 2)
        monkeypatch.setattr(os, "fork", fail)
        assert not ForkServer(theirs)._fork(Request(**json.loads(packet)), *descriptors)
        monkeypatch.undo()
        with pytest.raises(OSError, match="could not make a process"):
            await start
        forks._forget()
        theirs.close()

    asyncio.run(story())


def test_what_the_platform_forks_from_has_no_thread_no_connection_and_no_page(tmp_path: Path) -> None:
    code = """
import iiot_site.preload, os, sys
from pathlib import Path
links = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and os.path.lexists(entry)]
print(len(os.listdir("/proc/self/task")), [link for link in links if link.startswith("socket:")], "iiot_site.urls" in sys.modules)
"""
    env = {**os.environ, "IIOT_PROCESS": "loader", "IIOT_DATA_DIR": str(tmp_path), "IIOT_SECRET_KEY": settings.SECRET_KEY}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "1 [] False\n"


def test_processes_of_the_platform_get_less_time_to_end_than_servers(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    argv, mark = [sys.executable, "-c", code], f"IIOT_SUPERVISOR_RUN={tmp_path}"
    env = {**os.environ, "IIOT_SUPERVISOR_RUN": str(tmp_path)}
    with (
        subprocess.Popen(argv, env={**env, "IIOT_PROCESS": "listen-mqtt"}, stdout=subprocess.PIPE) as own,
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as server,
    ):
        for process in (own, server):
            assert process.stdout is not None
            process.stdout.readline()
        end = f"from iiot_site.supervisor.guardian import *; end_marked({mark!r}, term_seconds={2 * WAIT_SECONDS})"
        ending = subprocess.Popen([sys.executable, "-c", end], cwd=PROJECT)
        assert own.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert server.poll() is None
        server.kill()
        assert ending.wait(WAIT_SECONDS) == 0
    assert end_marked(mark)


def test_the_end_of_a_process_is_seen_while_the_fork_server_hangs_and_that_is_ended(tmp_path: Path) -> None:
    async def story() -> tuple[int, int, int | None]:
        plant = Plant(tmp_path)
        async with plant.supervisor:
            loader = await plant.load()
            spec = plant.spec("sleeper", SLEEP)
            log = open_log(spec.log)
            process = await plant.forks.fork(spec, log)
            assert loader.pid is not None
            before = loader.pid
            plant.forks._answer_seconds = 0.1
            os.kill(before, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGKILL)
            async with asyncio.timeout(WAIT_SECONDS):
                ended = await process.wait()
            for _ in range(2):
                with pytest.raises(OSError, match="does not answer"):
                    await plant.forks.fork(spec, log)
            await wait_until_async(lambda: loader.pid not in {None, before})
            os.close(log)
            return ended, before, loader.pid

    ended, before, after = asyncio.run(story())
    assert ended == -signal.SIGKILL
    assert after != before
