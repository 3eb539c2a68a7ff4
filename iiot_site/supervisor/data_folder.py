"""The data folder (`IIOT_DATA_DIR`, by default `var/`): where private servers, logs and secrets live."""

import fcntl
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from iiot_site.supervisor.errors import AlreadyRunningError, SupervisorError

_CLEAN_UP_SECONDS = 12.0


def write_private(path: Path, text: str) -> None:
    """Replace a file's content at once, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class DataFolder:
    """Paths below one data folder."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def servers_file(self) -> Path:
        return self.run / "servers.json"

    @property
    def status_file(self) -> Path:
        return self.run / "status.json"

    def create(self) -> None:
        """Create the folder and its private parts.

        Raises: SupervisorError where the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for part in (self.run, self.log, self.secrets):
                self.private(part.name)
        except OSError as error:
            raise SupervisorError(
                f"Cannot write to {self.root} ({error.strerror}). Name another folder in IIOT_DATA_DIR, or: "
                f"sudo chown -R $(id -un) {self.root}"
            ) from error

    def private(self, name: str) -> Path:
        """Return a folder of that name which only its owner may enter."""
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        return path

    def secret(self, name: str, *, size_bytes: int = 24) -> str:
        """Return a random secret that stays the same across starts."""
        path = self.secrets / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            write_private(path, secrets.token_hex(size_bytes) + "\n")
            return path.read_text(encoding="utf-8").strip()


class FolderLock:
    """One supervisor per data folder.

    The guardian inherits the lock, so it is free only once everything the former supervisor started is gone.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._path = folder.run / "supervisor.lock"
        self.fd = -1

    def acquire(self) -> None:
        """Take the lock; wait while the leftovers of a killed supervisor are being cleaned up.

        Raises: AlreadyRunningError
        """
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _CLEAN_UP_SECONDS
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = self._holder()
                if pid and time.monotonic() < deadline and not _is_alive(pid):
                    time.sleep(0.05)
                    continue
                raise AlreadyRunningError(folder=str(self._folder.root), pid=pid) from None
            os.truncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
            return

    def release(self) -> None:
        """Give the lock back."""
        os.close(self.fd)

    def _holder(self) -> int:
        return int(os.pread(self.fd, 32, 0) or 0)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
