"""The broker's password file: `username:hash` lines, written by us for the platform and by its login sync for devices."""

import fcntl
import os
from pathlib import Path

from iiot_site.lib.broker_logins import PLATFORM_USER
from iiot_site.lib.broker_password import hash_broker_password, verify_broker_password
from iiot_site.supervisor.data_folder import write_private


def read_logins(path: Path) -> dict[str, str]:
    """Return the hash for each username; lines that are no logins are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def ensure_platform_login(path: Path, password: str) -> None:
    """Make the platform's line fit its password and keep all other lines."""
    with _folder_lock(path.parent):
        logins = read_logins(path)
        if verify_broker_password(password, logins.get(PLATFORM_USER, "")):
            path.chmod(0o600)
            return
        logins[PLATFORM_USER] = hash_broker_password(password)
        write_private(path, "".join(f"{user}:{hashed}\n" for user, hashed in logins.items()))


class _folder_lock:  # noqa: N801 - reads as the statement it is
    """Hold the folder while a file in it is read, changed and replaced."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
