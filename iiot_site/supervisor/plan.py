"""The platform's processes: what to run, and how to know that each serves."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from iiot_site.supervisor.child import ProcessSpec
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import SupervisorError
from iiot_site.supervisor.forks import Forks
from iiot_site.supervisor.probes import is_http_live
from iiot_site.supervisor.servers import with_death_signal

LOADER = "loader"
PRELOAD = "iiot_site.preload"
_QUEUES = "default,rules,alerting"
_WEBSOCKET_FRAME_BYTES = "65536"


@dataclass(frozen=True)
class WebAddress:
    """Where the web process listens."""

    bind: str
    port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "WebAddress":
        """Read IIOT_HTTP_BIND and IIOT_HTTP_PORT.

        Raises: SupervisorError
        """
        port = environment.get("IIOT_HTTP_PORT") or "8000"
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise SupervisorError(f"IIOT_HTTP_PORT is {port!r}; use a number from 1 to 65535.")
        return cls(environment.get("IIOT_HTTP_BIND") or "127.0.0.1", int(port))

    @property
    def probe_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind, self.bind)  # noqa: S104 - compared, not bound


class Plan:
    """Builds the process specifications of one start."""

    def __init__(self, *, base: Path, folder: DataFolder, env: Mapping[str, str], web: WebAddress, forks: Forks) -> None:
        self._base = base
        self._folder = folder
        self._env = env
        self._web = web
        self._forks = forks

    def loader(self) -> ProcessSpec:
        """What the worker, beat and the listeners are forked from."""
        return self._forks.spec(
            name=LOADER, log=self._folder.log / f"{LOADER}.log", cwd=self._base, env={**self._env, "IIOT_PROCESS": LOADER}
        )

    def web(self) -> ProcessSpec:
        """HTTP and WebSocket."""
        argv = ["-m", "iiot_site.web_server", "iiot_site.asgi:application", "--host", self._web.bind, "--port", str(self._web.port)]
        argv += ["--lifespan", "on", "--no-access-log", "--no-server-header", "--no-proxy-headers"]
        argv += ["--ws-ping-interval", "20", "--ws-ping-timeout", "20", "--ws-max-size", _WEBSOCKET_FRAME_BYTES]
        argv += ["--timeout-graceful-shutdown", "3"]
        allowed = self._env.get("IIOT_ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".")
        host_header = f"{allowed if allowed not in ('', '*') else 'localhost'}:{self._web.port}"

        async def is_live() -> bool:
            return await is_http_live(self._web.probe_host, self._web.port, path="/health/live", host_header=host_header)

        # Not forked: it has settings of its own, and loads while the others do.
        return with_death_signal(self._process("web", argv, is_ready=is_live))

    def worker(self) -> ProcessSpec:
        """Celery tasks."""
        argv = ["-m", "celery", "-A", "iiot_site", "--skip-checks", "worker", "-Q", _QUEUES, "--concurrency", "2", "-n", "worker@%h"]
        # Mingle and gossip only matter among several workers, and hold up the start by a second.
        spec = self._forked("worker", [*argv, "--without-mingle", "--without-gossip", "--loglevel", "INFO"])
        temporary = self._folder.run / "worker-tmp"

        def clear() -> None:
            """Remove what a worker left that was ended by force: its pool has a folder for temporary files."""
            spec.before_start()
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(mode=0o700)

        return replace(spec, env={**spec.env, "TMPDIR": str(temporary)}, before_start=clear)

    def beat(self) -> ProcessSpec:
        """Celery's clock."""
        argv = ["-m", "celery", "-A", "iiot_site", "--skip-checks", "beat", "--pidfile=", "--loglevel", "INFO"]
        return self._forked("beat", [*argv, "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler"])

    def listener(self, protocol: str) -> ProcessSpec:
        """One protocol's listener. It skips Django's checks, which would load all pages: 0.7 s and 40 MiB; `up` runs them once."""
        return self._forked(f"listen-{protocol}", ["manage.py", "listen", protocol, "--skip-checks"])

    def tls_doors(self) -> list[ProcessSpec]:
        """The TLS door before our own MQTT broker, where there is a certificate for it."""
        return [self._forked("mqtt-tls", ["manage.py", "mqtt_tls", "--skip-checks"])] if self._env.get("IIOT_MQTT_TLS_CERT") else []

    def simulator(self) -> ProcessSpec:
        """The demo's devices."""

        async def always() -> bool:
            return True

        return self._forked("simulate", ["manage.py", "simulate"], is_ready=always)

    def step(self, *arguments: str) -> ProcessSpec:
        """A management command that runs to its end."""
        return self._forked(arguments[0], ["manage.py", *arguments])

    def _forked(self, name: str, argv: list[str], *, is_ready: Callable[[], Awaitable[bool]] | None = None) -> ProcessSpec:
        return replace(self._process(name, argv, is_ready=is_ready), launch=self._forks.fork)

    def _process(self, name: str, argv: list[str], *, is_ready: Callable[[], Awaitable[bool]] | None = None) -> ProcessSpec:
        ready_file = self._folder.run / f"{name}.ready"

        async def has_ready_file() -> bool:
            return ready_file.exists()

        return ProcessSpec(
            name=name,
            argv=(sys.executable, *argv),
            log=self._folder.log / f"{name}.log",
            cwd=self._base,
            env={**self._env, "IIOT_READY_FILE": str(ready_file), "IIOT_PROCESS": name},
            is_ready=is_ready or has_ready_file,
            before_start=lambda: ready_file.unlink(missing_ok=True),
        )
