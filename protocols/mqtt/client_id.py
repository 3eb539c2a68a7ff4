"""The listener's name at the broker: stable, because its session hangs on it, and secret.

A broker ends the older of two connections with one client id (MQTT 3.1.1 §3.1.4-2), whoever opened the second. A
device that knew this name could cut the listener off and, with a clean session, throw its queued messages away.
"""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def load_client_id(folder: Path) -> str:
    """Return the client id kept in `folder`; the first call makes one up."""
    path = folder / "mqtt_client_id"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder) as file:
            file.write(f"iiot-listener-{secrets.token_hex(16)}")
            file.flush()
            with contextlib.suppress(FileExistsError):  # another listener was first
                os.link(file.name, path)
    return path.read_text().strip()
