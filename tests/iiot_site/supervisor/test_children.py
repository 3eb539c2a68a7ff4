"""Supervised processes: readiness, restart with back-off, stop, and nothing left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iiot_site.supervisor.child import Child, ProcessSpec, State, describe_exit, next_delay, open_log, shrink_log
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder, write_private
from iiot_site.supervisor.errors import AlreadyRunningError, StepFailedError
from iiot_site.supervisor.guardian import marked_processes
from iiot_site.supervisor.servers import with_death_signal
from iiot_site.supervisor.supervisor import Supervisor
from tests.waiting import WAIT_SECONDS, wait_until, wait_until_async

PROJECT = Path(__file__).resolve().parents[3]
# A process with a child of its own in the same session, as a Celery worker has.
POOL = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def spec_of(supervisor: Supervisor, name: str, code: str) -> ProcessSpec:
    root = supervisor.folder.root
    argv = (sys.executable, "-c", code)
    return with_death_signal(ProcessSpec(name=name, argv=argv, log=root / "log" / f"{name}.log", cwd=root, env=supervisor.env))


def supervise(folder: Path) -> Supervisor:
    return Supervisor(DataFolder(folder), console=Console(to_stderr=True), env=dict(os.environ))


def test_the_delay_doubles_up_to_five_seconds_and_starts_anew_after_a_steady_minute() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(next_delay(delays[-1], uptime_seconds=0.1))
    assert delays[1:] == [1, 2, 4, 5, 5, 5, 5]
    assert next_delay(5, uptime_seconds=61) == 1


def test_a_crashed_process_is_started_again_and_its_state_is_written_down(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervise(tmp_path) as supervisor:
            child = supervisor.start_process(spec_of(supervisor, "sleeper", "import time; time.sleep(600)"))
            await supervisor.wait_ready(child, timeout_seconds=WAIT_SECONDS)
            first = child.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await wait_until_async(lambda: child.pid not in (None, first) and child.ready.is_set())
            status = json.loads((tmp_path / "run" / "status.json").read_text())["sleeper"]
            assert (status["state"], status["pid"], status["restarts"]) == ("ready", child.pid, 1)

    asyncio.run(story())
    assert json.loads((tmp_path / "run" / "status.json").read_text())["sleeper"]["state"] == "stopped"


def test_a_process_that_never_serves_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervise(tmp_path) as supervisor:
            spec = spec_of(supervisor, "broken", "print('no such table', flush=True); import time; time.sleep(600)")
            never = ProcessSpec(**{**vars(spec), "is_ready": lambda: asyncio.sleep(0, result=False)})
            child = supervisor.start_process(never)
            await wait_until_async(lambda: spec.log.exists() and "no such table" in spec.log.read_text())
            await supervisor.wait_ready(child, timeout_seconds=0.1)

    with pytest.raises(StepFailedError, match=r"(?s)broken does not come up.*no such table"):
        asyncio.run(story())


def test_a_program_that_does_not_exist_is_tried_again_rather_than_fatal(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervise(tmp_path) as supervisor:
            spec = ProcessSpec(name="gone", argv=("/nonexistent",), log=tmp_path / "gone.log", cwd=tmp_path, env=supervisor.env)
            child = supervisor.start_process(spec)
            await wait_until_async(lambda: child.state == State.WAITING)

    asyncio.run(story())


def test_stopping_ends_a_process_that_ignores_sigterm_and_the_workers_of_a_pool(tmp_path: Path) -> None:
    async def story() -> tuple[str, float]:
        async with supervise(tmp_path) as supervisor:
            pool = supervisor.start_process(spec_of(supervisor, "pool", POOL))
            stubborn = supervisor.start_process(spec_of(supervisor, "stubborn", STUBBORN))
            await wait_until_async(lambda: stubborn.spec.log.exists() and "up" in stubborn.spec.log.read_text())
            await supervisor.wait_ready(pool, timeout_seconds=WAIT_SECONDS)
            started = time.monotonic()
        return supervisor.run_id, time.monotonic() - started

    run_id, seconds = asyncio.run(story())
    assert not marked_processes(f"IIOT_SUPERVISOR_RUN={run_id}")
    assert seconds < WAIT_SECONDS  # both would go on for ten minutes


def test_nothing_survives_a_killed_supervisor_and_the_folder_is_free_again(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_children import POOL, STUBBORN, WAIT_SECONDS, Path, spec_of, supervise
from tests.waiting import WAIT_SECONDS
async def main():
    async with supervise(Path({str(tmp_path)!r})) as supervisor:
        for name, code in (("pool", POOL), ("stubborn", STUBBORN)):
            await supervisor.wait_ready(supervisor.start_process(spec_of(supervisor, name, code)), timeout_seconds=WAIT_SECONDS)
        print(supervisor.run_id, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        mark = f"IIOT_SUPERVISOR_RUN={supervisor.stdout.readline().strip()}"
        wait_until(lambda: len(marked_processes(mark)) >= 3)
        with pytest.raises(AlreadyRunningError, match=str(supervisor.pid)):
            asyncio.run(supervise(tmp_path).__aenter__())
        supervisor.kill()
    wait_until(lambda: not marked_processes(mark))

    async def start_again() -> None:
        async with supervise(tmp_path):
            pass

    asyncio.run(start_again())


def test_leftovers_of_a_supervisor_whose_guardian_died_too_are_ended_at_the_next_start(tmp_path: Path) -> None:
    env = {**os.environ, "IIOT_SUPERVISOR_RUN": "former", "IIOT_DATA_DIR": str(tmp_path)}
    foreign = {**os.environ, "IIOT_SUPERVISOR_RUN": "other", "IIOT_DATA_DIR": f"{tmp_path}-of-somebody-else"}
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]

    async def start() -> None:
        async with supervise(tmp_path):
            pass

    with subprocess.Popen(argv, env=env) as leftover, subprocess.Popen(argv, env=foreign) as stranger:
        wait_until(lambda: all(marked_processes(f"IIOT_SUPERVISOR_RUN={run}") for run in ("former", "other")))
        asyncio.run(start())
        assert leftover.wait(WAIT_SECONDS) == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()


def test_a_large_log_keeps_one_older_generation(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_bytes(b"x" * 10_000_001)
    os.close(open_log(path))
    assert (path.stat().st_size, (tmp_path / "web.log.1").stat().st_size) == (0, 10_000_001)
    handle = open_log(path)
    os.write(handle, b"y" * 10_000_001)
    shrink_log(path)
    os.write(handle, b"z")
    os.close(handle)
    assert path.read_bytes() == b"z"


def test_private_files_are_readable_by_their_owner_only_and_replaced_at_once(tmp_path: Path) -> None:
    write_private(tmp_path / "f", "one")
    write_private(tmp_path / "f", "two")
    assert (tmp_path / "f").read_text() == "two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_secrets_are_random_and_stay_the_same(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    assert folder.secret("redis") == folder.secret("redis") != folder.secret("mqtt")


def test_an_exit_is_described_by_its_code_or_its_signals_name() -> None:
    assert (describe_exit(3), describe_exit(-9), describe_exit(-99)) == ("exit code 3", "SIGKILL", "signal 99")


def test_a_child_stopped_before_it_started_stays_stopped() -> None:
    async def story() -> State:
        spec = ProcessSpec(name="idle", argv=("true",), log=Path("/dev/null"), cwd=Path("/"), env={})
        child = Child(spec, lambda *_: None)
        await child.stop(timeout_seconds=1)
        return child.state

    assert asyncio.run(story()) == State.STOPPED
