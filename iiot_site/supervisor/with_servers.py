"""Run one command with the private servers up: what the tests and developers use."""

import asyncio
import json
import signal
from collections.abc import Mapping

from iiot_site.supervisor.child import die_with_parent
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import AlreadyRunningError
from iiot_site.supervisor.fleet import Fleet
from iiot_site.supervisor.guardian import RUN_VARIABLE
from iiot_site.supervisor.supervisor import Supervisor


async def run_with_servers(command: list[str], *, folder: DataFolder, environment: Mapping[str, str], prefer_standard_ports: bool) -> int:
    """Start the servers, run the command (or wait for Ctrl-C), stop the servers; return the command's exit code.

    A folder that another supervisor serves already is used as it is, and left running.

    Raises: SupervisorError
    """
    console = Console(to_stderr=True)
    supervisor = Supervisor(folder, console=console, env=environment)
    try:
        async with supervisor:
            fleet = Fleet(supervisor, prefer_standard_ports=prefer_standard_ports)
            fleet.choose()
            started = await fleet.start()
            await fleet.start_late()
            if not command:
                console.line(f"Servers are up; their addresses are in {folder.servers_file}. Ctrl-C stops them.")
                await supervisor.stopping.wait()
                return 0
            return await _run(command, {**environment, "IIOT_DATA_DIR": str(folder.root), **started.addresses}, supervisor)
    except AlreadyRunningError as error:
        if not command:
            raise
        console.line(f"Using the servers of process {error.pid}.")
        addresses = json.loads(folder.servers_file.read_text())
        return await _run(command, {**environment, "IIOT_DATA_DIR": str(folder.root), **addresses}, None)


async def _run(command: list[str], environment: Mapping[str, str], supervisor: Supervisor | None) -> int:
    """Run in the terminal's foreground group, so that Ctrl-C reaches the command itself."""
    env = {name: value for name, value in environment.items() if name != RUN_VARIABLE}
    process = await asyncio.create_subprocess_exec(*die_with_parent(tuple(command), signal.SIGTERM), env=env)
    waiting = asyncio.create_task(process.wait())
    if supervisor is not None:
        await _first_of(waiting, supervisor.stopping)
        if supervisor.stop_signal == signal.SIGINT:  # Ctrl-C reached the command by itself: give it time to end
            await _first_of(waiting, supervisor.forcing)
        if not waiting.done():
            process.send_signal(signal.SIGTERM)
    code = await waiting
    return code if code >= 0 else 128 - code


async def _first_of(work: asyncio.Task[int], event: asyncio.Event) -> None:
    happening = asyncio.create_task(event.wait())
    await asyncio.wait([work, happening], return_when=asyncio.FIRST_COMPLETED)
    happening.cancel()
