"""The commands `up`, `with_servers` and `doctor`. manage.py calls them before Django is loaded."""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from iiot_site.environment import BASE_DIR, DATA_DIR
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.doctor import run_doctor
from iiot_site.supervisor.errors import StoppedError, SupervisorError
from iiot_site.supervisor.up import run_up
from iiot_site.supervisor.with_servers import run_with_servers


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; return the exit code."""
    parser = argparse.ArgumentParser(prog="manage.py")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the servers and all processes of the platform; Ctrl-C stops them")
    servers = commands.add_parser("with_servers", help="start the servers, run a command with their addresses, stop them")
    servers.add_argument("--data-dir", help="data folder to use instead of IIOT_DATA_DIR")
    servers.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="without one, wait for Ctrl-C")
    doctor_parser = commands.add_parser("doctor", help="tell what is found, what is missing and the line that gets it")
    doctor_parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    if options.command == "up":
        return up()
    if options.command == "doctor":
        return doctor(as_json=options.json)
    return with_servers(options.words, data_dir=options.data_dir)


def up() -> int:
    """Run the platform; return the exit code."""
    return _run(run_up(base=BASE_DIR, folder=DataFolder(DATA_DIR), environment=dict(os.environ)))


def with_servers(words: list[str], *, data_dir: str | None) -> int:
    """Run a command with the servers up; return its exit code."""
    command = words[1:] if words[:1] == ["--"] else words
    folder = DataFolder(Path(data_dir).resolve() if data_dir else DATA_DIR)
    work = run_with_servers(command, folder=folder, environment=dict(os.environ), prefer_standard_ports=not command)
    return _run(work)


def doctor(*, as_json: bool) -> int:
    """Print what is found and missing; return 1 where something required is missing."""
    return _run(run_doctor(base=BASE_DIR, folder=DataFolder(DATA_DIR), environment=dict(os.environ), as_json=as_json))


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except StoppedError:
        return 0
    except SupervisorError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
