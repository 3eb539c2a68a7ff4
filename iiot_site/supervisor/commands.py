"""Short-lived helper programs."""

import asyncio
from collections.abc import Mapping

from iiot_site.supervisor.errors import StepFailedError


async def run_command(*argv: str, env: Mapping[str, str] | None = None, timeout_seconds: float = 60) -> str:
    """Run a program to its end and return what it wrote.

    Raises: StepFailedError
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(env) if env is not None else None,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise StepFailedError(f"{argv[0]} did not end within {timeout_seconds:.0f} s") from None
    text = output.decode(errors="replace").strip()
    if process.returncode:
        raise StepFailedError(f"{' '.join(argv)} failed with exit code {process.returncode}:\n{text}")
    return text
