"""`make up` as a whole, with the real processes: ready, restarts, clean stop, second start, nothing left after a kill."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import SupervisorError
from iiot_site.supervisor.guardian import marked_processes
from iiot_site.supervisor.plan import WebAddress
from iiot_site.supervisor.stamps import Stamps, digest_of
from iiot_site.supervisor.up import run_up
from tests.platform import START_SECONDS
from tests.ports import free_port
from tests.waiting import WAIT_SECONDS, wait_until, wait_until_async

PROJECT = Path(__file__).resolve().parents[3]
NOT_OURS = (
    "DATABASE_URL",
    "REDIS_URL",
    "MQTT_URL",
    "AMQP_URL",
    "IIOT_COAP_PORT",
    "IIOT_OPCUA_PORT",
    "DJANGO_SETTINGS_MODULE",
    "IIOT_SECRET_KEY",
)


def environment(**changes: str) -> dict[str, str]:
    """Without the servers and settings of the test run itself."""
    return {name: value for name, value in os.environ.items() if name not in NOT_OURS} | {"IIOT_PG_FAST": "1", **changes}


def read_status(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        status: dict[str, dict[str, Any]] = json.loads((folder / "run" / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return status


def is_ready(folder: Path, *names: str) -> bool:
    status = read_status(folder)
    return all(status.get(name, {}).get("state") == "ready" for name in names)


async def until(is_true: Callable[[], bool], work: asyncio.Task[int], *, seconds: float = WAIT_SECONDS) -> None:
    await wait_until_async(lambda: work.done() or is_true(), seconds=seconds)
    assert not work.done(), "the supervisor ended"


def get_status_code(url: str) -> int:
    with urllib.request.urlopen(url) as answer:
        code: int = answer.status
    return code


@pytest.mark.slow
def test_the_platform_comes_up_heals_stops_and_comes_up_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    http_port = free_port()
    changed = environment(IIOT_HTTP_PORT=str(http_port))
    processes = ("web", "worker", "beat", "listen-mqtt", "simulate")

    async def first_run() -> int:
        work = asyncio.create_task(run_up(base=PROJECT, folder=DataFolder(tmp_path), environment=changed))
        await until(lambda: is_ready(tmp_path, *processes), work, seconds=START_SECONDS)
        assert await asyncio.to_thread(get_status_code, f"http://127.0.0.1:{http_port}/health/live") == 200
        assert (tmp_path / "demo.json").exists()
        assert list((tmp_path / "run" / "worker-tmp").iterdir()), "the worker's temporary files are not in /tmp"
        listener = read_status(tmp_path)["listen-mqtt"]["pid"]
        os.kill(listener, signal.SIGKILL)
        await until(lambda: read_status(tmp_path)["listen-mqtt"]["restarts"] == 1, work)
        await until(lambda: is_ready(tmp_path, "listen-mqtt"), work)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(WAIT_SECONDS):
            return await work

    assert asyncio.run(first_run()) == 0
    assert marked_processes("IIOT_SUPERVISOR_RUN=", f"IIOT_DATA_DIR={tmp_path}") == []
    assert {entry["state"] for entry in read_status(tmp_path).values()} <= {"stopped", "off"}
    output = capsys.readouterr().out
    assert f"Ready: http://localhost:{http_port}\n" in output
    assert re.search(r"^Devices: MQTT localhost:\d+ .*CoAP 127\.0\.0\.1:\d+ .*OPC UA localhost:\d+$", output, re.MULTILINE)
    assert "listen-mqtt  stopped (SIGKILL); again in 1 s" in output

    argv = [sys.executable, "manage.py", "up"]
    changed["IIOT_DATA_DIR"] = str(tmp_path)
    with subprocess.Popen(argv, cwd=PROJECT, env=changed, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        lines = iter(second.stdout.readline, "")
        assert any(line.startswith("Ready:") for line in lines)
        third = subprocess.run(argv, cwd=PROJECT, env=changed, capture_output=True, text=True, check=False)
        assert third.returncode == 1
        assert f"Already running: process {second.pid}" in third.stderr
        second.kill()
    wait_until(lambda: not marked_processes("IIOT_SUPERVISOR_RUN=", f"IIOT_DATA_DIR={tmp_path}"))


def test_a_taken_port_is_named_with_the_variable_that_changes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        work = run_up(base=PROJECT, folder=DataFolder(tmp_path), environment=environment(IIOT_HTTP_PORT=str(port)))
        with pytest.raises(SupervisorError, match=f"IIOT_HTTP_PORT={port + 1} make up"):
            asyncio.run(work)
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SupervisorError, match="IIOT_HTTP_PORT"):
        WebAddress.from_environment({"IIOT_HTTP_PORT": port})


def test_every_interface_is_probed_on_loopback() -> None:
    assert WebAddress.from_environment({}) == WebAddress("127.0.0.1", 8000)
    assert WebAddress.from_environment({"IIOT_HTTP_BIND": "0.0.0.0"}).probe_host == "127.0.0.1"


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SupervisorError, match="IIOT_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data").create()


def test_a_step_is_repeated_when_its_sources_change(tmp_path: Path) -> None:
    source = tmp_path / "migrations"
    source.mkdir()
    (source / "0001.py").write_text("one")
    before = digest_of([source])
    stamps = Stamps(tmp_path / "stamps.json")
    stamps.set("migrations", before)
    assert Stamps(tmp_path / "stamps.json").is_done("migrations", digest_of([source]))
    (source / "0002.py").write_text("two")
    assert not stamps.is_done("migrations", digest_of([source]))
    stamps.forget("migrations")
    assert not stamps.is_done("migrations", before)
