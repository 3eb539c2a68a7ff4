"""What every private server has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from iiot_site.supervisor.child import ProcessSpec, die_with_parent
from iiot_site.supervisor.choice import Choice
from iiot_site.supervisor.data_folder import DataFolder


@dataclass(frozen=True, kw_only=True)
class ServerContext:
    """Where a private server lives."""

    folder: DataFolder
    choice: Choice
    port: int
    env: Mapping[str, str]
    bind: str = "127.0.0.1"

    @property
    def name(self) -> str:
        return self.choice.need.name

    @property
    def log(self) -> Path:
        return self.folder.log / f"{self.name}.log"


class PrivateServer(ABC):
    """A server run under the data folder: prepare, run the processes, finish once it answers."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context

    @property
    @abstractmethod
    def url(self) -> str:
        """The address, with the login, for the platform's own processes."""

    @abstractmethod
    async def prepare(self) -> None:
        """Write configuration and make the data folder; safe to repeat."""

    @abstractmethod
    def processes(self) -> list[ProcessSpec]:
        """What to run, in order; the server itself comes last."""

    async def version(self) -> str:
        """Return the version for the terminal; "" where it is not worth the time."""
        return ""

    async def finish(self) -> None:
        """Do what needs the running server."""
        return


def with_death_signal(spec: ProcessSpec) -> ProcessSpec:
    """Let the kernel stop the process when the supervisor dies."""
    return replace(spec, argv=die_with_parent(spec.argv, spec.stop_signal))
