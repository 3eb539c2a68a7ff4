"""Entry points of `up`, `with_servers` and `doctor`, shared by manage.py's commands."""

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


def up() -> int:
    """Run the platform; return the exit code."""
    return _run(run_up(base=BASE_DIR, folder=DataFolder(DATA_DIR), environment=dict(os.environ)))


def with_servers(command: list[str], *, data_dir: str | None) -> int:
    """Run a command with the servers up; return its exit code."""
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
