"""Remembers what a step was last done for, so that an unchanged one need not hold up the start."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from iiot_site.supervisor.data_folder import write_private


def digest_of(paths: Iterable[Path]) -> str:
    """Return a cheap digest of files: names, sizes and times of change; folders are walked."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.exists() and "__pycache__" not in file.parts:
                stat = file.stat()
                digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Stamps:
    """Step name → digest of what it was done for, in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def is_done(self, step: str, digest: str) -> bool:
        """Tell whether the step was done for exactly this."""
        return self._digests.get(step) == digest

    def set(self, step: str, digest: str) -> None:
        """Remember a finished step."""
        self._digests[step] = digest
        self._write()

    def forget(self, *steps: str) -> None:
        """Forget steps, as after a new database."""
        for step in steps:
            self._digests.pop(step, None)
        self._write()

    def _write(self) -> None:
        write_private(self._path, json.dumps(self._digests, indent=1) + "\n")
