"""The private servers as a whole: they keep their data, end with their supervisor, and never open foreign data."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from iiot_site.supervisor import cli, fleet
from iiot_site.supervisor.choice import AMQP, POSTGRES, Source, find_candidates
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import StepFailedError
from iiot_site.supervisor.guardian import marked_processes
from iiot_site.supervisor.with_servers import run_with_servers
from tests.waiting import WAIT_SECONDS, wait_until

PROJECT = Path(__file__).resolve().parents[3]
URLS = ("DATABASE_URL", "REDIS_URL", "MQTT_URL", "AMQP_URL", "IIOT_COAP_PORT", "IIOT_OPCUA_PORT")


def environment(**changes: str) -> dict[str, str]:
    """Without the servers of the test run itself."""
    return {name: value for name, value in os.environ.items() if name not in URLS} | {"IIOT_PG_FAST": "1", **changes}


def with_servers(folder: Path, *command: str, **changes: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "manage.py", "with_servers", "--data-dir", str(folder), "--", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=PROJECT, env=environment(**changes), stdout=pipe, stderr=pipe, text=True)


def addresses(folder: Path) -> dict[str, str]:
    values: dict[str, str] = json.loads((folder / "run" / "servers.json").read_text())
    return values


def start_and_hold(folder: Path, **changes: str) -> "subprocess.Popen[str]":
    """Start the servers around a command that says when it runs, then waits."""
    running = with_servers(folder, sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)", **changes)
    assert running.stdout is not None
    if running.stdout.readline() != "up\n":
        pytest.fail(running.communicate()[1])
    return running


def remember(folder: Path, word: str) -> None:
    with psycopg.connect(addresses(folder)["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", (word,))
    with redis.Redis.from_url(addresses(folder)["REDIS_URL"]) as client:
        client.lpush("words", word)


def remembered(folder: Path) -> tuple[list[str], list[str]]:
    with psycopg.connect(addresses(folder)["DATABASE_URL"]) as connection:
        rows = [str(row[0]) for row in connection.execute("SELECT word FROM words")]
    with redis.Redis.from_url(addresses(folder)["REDIS_URL"], decode_responses=True) as client:
        return rows, list(client.lrange("words", 0, -1))


@pytest.mark.slow
def test_servers_keep_their_data_and_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    with start_and_hold(tmp_path) as running:
        before = addresses(tmp_path)
        assert (tmp_path / "run" / "servers.json").stat().st_mode & 0o777 == 0o600
        assert bool(before["AMQP_URL"]) == bool(find_candidates(AMQP))
        remember(tmp_path, "kept")
        running.kill()
        # The database, Redis, the broker, and where there is RabbitMQ: Erlang's machine and its port mapper.
        wait_until(lambda: not marked_processes("IIOT_SUPERVISOR_RUN=", f"IIOT_DATA_DIR={tmp_path}"))
    with start_and_hold(tmp_path) as running:
        assert addresses(tmp_path) == before, "ports and passwords stay the same"
        assert remembered(tmp_path) == (["kept"], ["kept"])
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=WAIT_SECONDS)
    assert marked_processes("IIOT_SUPERVISOR_RUN=", f"IIOT_DATA_DIR={tmp_path}") == []


@pytest.mark.slow
def test_packaged_servers_serve_where_nothing_is_installed_and_foreign_data_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in URLS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IIOT_PG_FAST", "1")
    monkeypatch.setenv("IIOT_SERVERS", "packaged")
    code = "import os; assert not os.environ['AMQP_URL']; raise SystemExit(7)"
    words = ["with_servers", "--data-dir", str(tmp_path), "--"]
    assert cli.main([*words, sys.executable, "-c", code]) == 7
    messages = capsys.readouterr().err
    for word in ("18.", "Valkey", "amqtt", "off; to have AMQP"):
        assert word in messages
    if any(item.source == Source.SYSTEM and item.major != "18" for item in find_candidates(POSTGRES)):
        monkeypatch.setenv("IIOT_SERVERS", "system")
        assert cli.main([*words, "true"]) == 1
        assert "made by PostgreSQL 18" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_may_join_the_servers_of_another_supervisor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start_and_hold(tmp_path, IIOT_SERVERS="packaged") as running:
        code = f"import os; raise SystemExit(os.environ['REDIS_URL'] != {addresses(tmp_path)['REDIS_URL']!r})"
        assert cli.main(["with_servers", "--data-dir", str(tmp_path), "--", sys.executable, "-c", code]) == 0
        assert f"Using the servers of process {running.pid}" in capsys.readouterr().err
        assert cli.main(["with_servers", "--data-dir", str(tmp_path)]) == 1
        assert marked_processes("IIOT_SUPERVISOR_RUN=", f"IIOT_DATA_DIR={tmp_path}")
        running.send_signal(signal.SIGTERM)
        running.communicate()


def test_a_server_in_the_environment_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_REACH_SECONDS", 0.2)
    changed = environment(REDIS_URL="redis://127.0.0.1:1", IIOT_SERVERS="packaged")
    work = run_with_servers(["true"], folder=DataFolder(tmp_path), environment=changed, prefer_standard_ports=False)
    with pytest.raises(StepFailedError, match=r"REDIS_URL names 127\.0\.0\.1:1, which does not answer"):
        asyncio.run(work)
