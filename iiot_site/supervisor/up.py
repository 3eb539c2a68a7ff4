"""`make up`: servers, one-shot steps, processes, `Ready`, and a clean end."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from iiot_site.supervisor.child import Child, RunningProcess, open_log
from iiot_site.supervisor.console import Console, tail
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import StepFailedError, StoppedError, SupervisorError
from iiot_site.supervisor.fleet import Fleet, StartedServers
from iiot_site.supervisor.forks import Forks
from iiot_site.supervisor.plan import PRELOAD, Plan, WebAddress
from iiot_site.supervisor.ports import is_free
from iiot_site.supervisor.stamps import Stamps, digest_of
from iiot_site.supervisor.supervisor import Supervisor

_STEP_SECONDS, _READY_SECONDS = 600.0, 90.0


class Platform:
    """One run of the platform under a supervisor."""

    def __init__(self, supervisor: Supervisor, *, base: Path, web: WebAddress) -> None:
        self._supervisor = supervisor
        self._base = base
        self._web = web
        self._stamps = Stamps(supervisor.folder.run / "stamps.json")
        self._forks = Forks(PRELOAD)
        self._plan = Plan(base=base, folder=supervisor.folder, env=supervisor.env, web=web, forks=self._forks)
        self._with_demo = supervisor.env.get("IIOT_DEMO") != "0"
        self._with_simulator = self._with_demo and supervisor.env.get("IIOT_SIMULATE") != "0"

    async def run(self) -> None:
        """Start everything, then wait for a signal.

        Raises: SupervisorError
        """
        fleet = Fleet(self._supervisor, prefer_standard_ports=True, with_simulated_plant=self._with_simulator)
        fleet.choose()
        self._loader = self._supervisor.start_process(self._plan.loader())  # it loads while the servers start
        static = asyncio.create_task(self._collect_static())
        amqp: asyncio.Task[None] | None = None
        try:
            servers = await fleet.start()
            if not servers.is_new_database:  # the first start has more urgent work for both cores
                amqp = asyncio.create_task(self._start_amqp(fleet))
            late = await self._steps(servers)
            await static
            self._announce(await self._start_processes())
            with contextlib.suppress(StoppedError):  # we are up: what is late may be stopped as well
                await (amqp or self._start_amqp(fleet))
                await self._run_late(late)
        finally:
            await _cancel(static, amqp)
        await self._supervisor.stopping.wait()

    # --- steps

    async def _collect_static(self) -> None:
        apps = [path.parent for path in self._base.glob("*/__init__.py")]
        folders = [*(app / "static" for app in apps), self._base / "node_modules" / ".package-lock.json"]
        files = [self._base / name for name in ("package-lock.json", "requirements.lock", "iiot_site/npm_finder.py")]
        digest = digest_of([*folders, *files])
        if self._stamps.is_done("static", digest) and (self._supervisor.folder.root / "static").exists():
            return
        await self._step("collectstatic", "--noinput", "--verbosity", "0", done="static files collected")
        self._stamps.set("static", digest)

    async def _steps(self, servers: StartedServers) -> list[tuple[str, str]]:
        """Migrate and fill in the demo where something changed; return the checks that can wait until we are ready."""
        if servers.is_new_database:
            self._stamps.forget("migrations", "demo")
        migrations = digest_of([*self._base.glob("*/migrations"), self._base / "requirements.lock"])
        late = [("check", "settings and models are sound")]
        if servers.is_private_database and self._stamps.is_done("migrations", migrations):
            late.append(("migrate_tenants", "every tenant is up to date"))
        else:
            await self._step("migrate_tenants", done="database schemas are up to date")
            self._stamps.set("migrations", migrations)
        if not self._with_demo:
            return late
        sources = digest_of([*self._base.glob("*/management/commands/demo*.py"), *self._base.glob("*/demo")])
        # demo.json tells where to connect.
        public = [address for name, address in servers.addresses.items() if "_PUBLIC_" in name or "_DEMO_" in name]
        demo = f"{sources} {self._web.port} {':'.join(public)}"
        has_file = (self._supervisor.folder.root / "demo.json").exists()
        if not (servers.is_private_database and has_file and self._stamps.is_done("demo", demo)):
            await self._step("demo", done="demo tenants, users and devices are there")
            self._stamps.set("demo", demo)
        return late

    async def _run_late(self, late: list[tuple[str, str]]) -> None:
        for name, done in late:
            try:
                await self._step(name, done=done)
            except StepFailedError as error:
                self._stamps.forget("migrations")
                self._supervisor.console.line(str(error))

    async def _step(self, *arguments: str, done: str) -> None:
        """Run a management command to its end; its output is shown, its errors are logged.

        Raises: StepFailedError
        """
        started = time.monotonic()
        await self._supervisor.wait_ready(self._loader, timeout_seconds=_READY_SECONDS)
        spec = self._plan.step(*arguments)
        log = open_log(spec.log)
        output, theirs = os.pipe()
        try:
            process = await self._forks.fork(spec, theirs, log)
        finally:
            os.close(log)
            os.close(theirs)
        if code := await self._show(process, spec.name, output):
            self._supervisor.raise_if_stopping()
            raise StepFailedError(f"{spec.name} failed with exit code {code}. The end of {spec.log}:\n{tail(spec.log)}")
        self._supervisor.console.step(spec.name, f"{done} ({time.monotonic() - started:.1f} s)")

    async def _show(self, process: RunningProcess, name: str, output: int) -> int:
        """Show what a step prints. It is not logged: the demo prints passwords once."""
        reader = asyncio.StreamReader()
        with os.fdopen(output, "rb") as pipe:
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            stopping = asyncio.create_task(self._supervisor.stopping.wait())
            stopping.add_done_callback(lambda task: None if task.cancelled() else process.send_signal(signal.SIGTERM))
            try:
                async with asyncio.timeout(_STEP_SECONDS):
                    async for line in reader:
                        if text := line.decode(errors="replace").rstrip():
                            self._supervisor.console.step(name, text)
                    return await process.wait()
            except (TimeoutError, asyncio.CancelledError):
                process.send_signal(signal.SIGKILL)
                raise
            finally:
                stopping.cancel()

    # --- processes

    async def _start_processes(self) -> list[Child]:
        supervisor, plan = self._supervisor, self._plan
        children = [supervisor.start_process(plan.web())]
        await supervisor.wait_ready(self._loader, timeout_seconds=_READY_SECONDS)
        # Listeners first: devices wait for them.
        specs = [
            *(plan.listener(protocol) for protocol in ("mqtt", "coap", "modbus", "opcua")),
            plan.worker(),
            plan.beat(),
            *plan.tls_doors(),
        ]
        children += [supervisor.start_process(spec) for spec in specs]
        await asyncio.gather(*(self._wait_for_process(child) for child in children))
        if self._with_simulator:
            children.append(supervisor.start_process(plan.simulator()))
        return children

    async def _start_amqp(self, fleet: Fleet) -> None:
        """Start what the platform does without: RabbitMQ, which takes a core for 3 s, and after it the listener that needs it."""
        await self._supervisor.wait_ready(self._loader, timeout_seconds=_READY_SECONDS)
        await fleet.start_late()
        if fleet.has_amqp and not self._supervisor.stopping.is_set():
            await self._wait_for_process(self._supervisor.start_process(self._plan.listener("amqp")))

    async def _wait_for_process(self, child: Child) -> None:
        started = time.monotonic()
        try:
            await self._supervisor.wait_ready(child, timeout_seconds=_READY_SECONDS)
        except StepFailedError as error:  # it is started again and again; the rest serves meanwhile
            self._supervisor.console.line(str(error))
        else:
            self._supervisor.console.step(child.spec.name, f"ready in {time.monotonic() - started:.1f} s")

    def _announce(self, children: list[Child]) -> None:
        console, root = self._supervisor.console, self._supervisor.folder.root
        failed = [child.spec.name for child in children if not child.ready.is_set() and child.spec.name != "simulate"]
        host = "localhost" if self._web.bind in ("127.0.0.1", "0.0.0.0", "::", "::1") else self._web.bind  # noqa: S104
        console.line()
        if "web" not in failed:
            console.line(f"Ready: http://{host}:{self._web.port}")
            console.line(f"Devices: {'  '.join(list_doors(self._supervisor.env))}")
        if failed:
            console.line(f"Not running yet: {', '.join(failed)}; see {self._supervisor.folder.log}")
        if self._with_demo:
            console.line(f"Demo logins, devices and their broker passwords: {_shown(root / 'demo.json')}")
        console.line(f"Logs: {_shown(self._supervisor.folder.log)}  State: {_shown(self._supervisor.folder.status_file)}")


def list_doors(environment: Mapping[str, str]) -> list[str]:
    """Return where devices and programs connect to, as the start found the ports."""
    names = {"MQTT": "MQTT", "AMQP": "AMQP", "COAP": "CoAP", "OPCUA": "OPC UA"}
    doors = [
        f"{name} {environment[f'{prefix}_PUBLIC_HOST']}:{port}"
        for prefix, name in names.items()
        if (port := environment.get(f"{prefix}_PUBLIC_PORT")) and port != "0"
    ]
    if environment.get("IIOT_MQTT_TLS_CERT"):
        doors.append(f"MQTT over TLS localhost:{environment.get('IIOT_MQTT_TLS_PORT') or '8883'}")
    return doors


async def _cancel(*tasks: asyncio.Task[None] | None) -> None:
    started = [task for task in tasks if task is not None]
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


async def run_up(*, base: Path, folder: DataFolder, environment: Mapping[str, str]) -> int:
    """Run the platform until a signal; return the exit code.

    Raises: SupervisorError
    """
    web = WebAddress.from_environment(environment)
    async with Supervisor(folder, console=Console(), env=environment) as supervisor:
        if not is_free(web.port, web.bind):
            raise SupervisorError(
                f"Port {web.port} on {web.bind} is taken by another program. Choose another one: IIOT_HTTP_PORT={web.port + 1} make up"
            )
        await Platform(supervisor, base=base, web=web).run()
    supervisor.console.line("Stopped.")
    return 0
