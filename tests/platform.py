"""A whole platform, started as a stranger starts it, with the demo in it and its simulator off."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.ports import free_port
from tests.waiting import WAIT_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300.0
STOP_SECONDS = 60.0
# What `make test` exports for its own servers; the platform has to find its own.
FOREIGN_VARIABLES = {
    *(name for name in os.environ if name.endswith(("_URL", "_PUBLIC_HOST", "_PUBLIC_PORT"))),
    *("DJANGO_SETTINGS_MODULE", "IIOT_SECRET_KEY", "IIOT_DATA_DIR", "IIOT_COAP_PORT", "IIOT_OPCUA_PORT"),
}


@dataclass(slots=True)
class Platform:
    """A running platform."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    demo: dict[str, Any]

    def call(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        """Call the API and return its JSON; HTTP errors raise."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.demo['http']}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def log_in(self, role: str, *, tenant: str = "acme") -> str:
        """Return an access token of a person of the demo."""
        login = self.demo["tenants"][tenant]["users"][role]
        return str(self.call("POST", "/auth/login", {**login, "tenant": tenant})["access"])

    def device_entry(self, key: str, *, tenant: str = "acme") -> dict[str, Any]:
        return next(entry for entry in self.demo["tenants"][tenant]["devices"] if entry["key"] == key)

    @property
    def database_url(self) -> str:
        return str(json.loads((self.folder / "run" / "servers.json").read_text())["DATABASE_URL"])

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Look into the database."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement, parameters).fetchall()

    def values(self, device: str, metric: str, *, tenant: str = "acme") -> list[float]:
        """Return all stored values of a series, in the order of their times."""
        rows = self.query(
            f"SELECT r.value FROM t_{tenant}.telemetry_reading r JOIN t_{tenant}.devices_device d ON d.id = r.device_id"
            f" JOIN t_{tenant}.devices_metric m ON m.id = r.metric_id WHERE d.key = %s AND m.key = %s ORDER BY r.ts",
            device,
            metric,
        )
        return [row[0] for row in rows]

    def is_ready(self, name: str) -> bool:
        """Tell whether a process that the supervisor watches serves."""
        state: dict[str, Any] = json.loads((self.folder / "run" / "status.json").read_text()).get(name, {})
        return state.get("state") == "ready"

    def process_id(self, name: str) -> int:
        """Return the process id of a process that the supervisor watches; waits while it is being started."""
        status = self.folder / "run" / "status.json"
        wait_until(lambda: json.loads(status.read_text())[name]["pid"] is not None)
        return int(json.loads(status.read_text())[name]["pid"])


def start_process(folder: Path, *, port: int, fast: bool) -> "subprocess.Popen[bytes]":
    """Start `manage.py up` and return its process once the platform is ready."""
    process = launch_process(folder, port=port, fast=fast)
    wait_until_up(process, folder)
    return process


def launch_process(folder: Path, *, port: int, fast: bool) -> "subprocess.Popen[bytes]":
    """Start `manage.py up` in this folder and return its process at once; `fast` leaves out what only a power cut would need."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    env |= {"IIOT_DATA_DIR": str(folder), "IIOT_HTTP_PORT": str(port), "IIOT_SIMULATE": "0", "IIOT_PG_FAST": "1" if fast else "0"}
    env["IIOT_PLANT_NETWORKS"] = "127.0.0.0/8,10.0.0.0/8"  # the machines of tests run beside them; the documentation names some elsewhere
    with (folder / "up.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)


def wait_until_up(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait until the platform says that it is ready."""
    output = folder / "up.log"
    deadline = time.monotonic() + START_SECONDS
    while b"Ready: " not in output.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the platform did not start:\n{output.read_text()[-4000:]}")
        time.sleep(0.1)


@contextmanager
def running_platform(folder: Path, *, fast: bool = True) -> Iterator[Platform]:
    """Start a platform in a folder of its own; stop it as Ctrl-C does."""
    process = start_process(folder, port=free_port(), fast=fast)
    platform = Platform(process, folder, json.loads((folder / "demo.json").read_text()))
    try:
        yield platform
    finally:
        platform.process.send_signal(signal.SIGINT)
        try:
            platform.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            platform.process.kill()
            platform.process.wait()
