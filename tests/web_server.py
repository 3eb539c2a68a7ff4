"""The real web server on a free port, for tests that need one."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
STOP_SECONDS = 60


@contextmanager
def run_web_server(env: Mapping[str, str], log: Path, *, port: int = 0) -> Iterator[str]:
    """Run uvicorn with `env` (see the fixture `process_env`) and yield its address once it accepts connections."""
    port = port or free_port()
    command = [sys.executable, "-m", "iiot_site.web_server", "iiot_site.asgi:application", "--port", str(port), "--no-proxy-headers"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(env), stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            _wait_until_it_listens(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the web server did not come up: {log.read_text()[-2000:]}")
