"""The password file of the platform's own MQTT broker, which reads it on SIGHUP and drops revoked devices.

`protocols.login_sync` keeps it in step with the devices' credentials. An external broker keeps its users itself.
"""

import fcntl
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iiot_site.lib.broker_logins import PLATFORM_USER, acl_text

logger = logging.getLogger(__name__)

BROKER_PROCESS_NAME = "mosquitto"


class PasswordFile:
    """The broker's `username:hash` file and its ACL beside it. Locks their folder while changing them, as the supervisor does."""

    def __init__(self, path: Path, pid_file: Path) -> None:
        self._path = path
        self._pid_file = pid_file
        self._shut_out: dict[str, float] = {}  # until when, by the monotonic clock

    def replace_device_logins(self, logins: dict[str, str]) -> bool:
        """Write these logins next to the platform's own and tell the broker; False where nothing changed."""
        with self._locked():
            current = self._read()
            wanted = {user: hashed for user, hashed in current.items() if user == PLATFORM_USER} | dict(sorted(logins.items()))
            self._shut_out = {user: until for user, until in self._shut_out.items() if until > time.monotonic()}
            wanted = {user: hashed for user, hashed in wanted.items() if user not in self._shut_out}
            changes_rights = self._replace_rights(acl_text(wanted))
            if wanted == current and not changes_rights:
                return False
            self._write(self._path, "".join(f"{user}:{hashed}\n" for user, hashed in wanted.items()))
        self._tell_broker()
        return True

    def shut_out(self, username: str, *, seconds: float) -> bool:
        """Take a device's login from the broker, which ends its connections; False where it has none.

        `replace_device_logins` brings it back once the time is over.
        """
        with self._locked():
            self._shut_out[username] = time.monotonic() + seconds
            logins = self._read()
            if username == PLATFORM_USER or logins.pop(username, None) is None:
                return False
            self._write(self._path, "".join(f"{user}:{hashed}\n" for user, hashed in logins.items()))
        self._tell_broker()
        return True

    def _read(self) -> dict[str, str]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def _replace_rights(self, text: str) -> bool:
        """Give the second names of devices their rights; False where they have them."""
        path = self._path.with_name("acl")
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        self._write(path, text)
        return True

    @staticmethod
    def _write(path: Path, text: str) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)

    def _tell_broker(self) -> None:
        try:
            pid = int(self._pid_file.read_text())
            if Path(f"/proc/{pid}/comm").read_text().strip() == BROKER_PROCESS_NAME:  # after a crash it may be someone else's number
                os.kill(pid, signal.SIGHUP)
        except (FileNotFoundError, ValueError, ProcessLookupError) as exc:
            logger.info("the broker reads its passwords by itself or when it starts: %s", exc)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
