"""Ends the connections of devices whose credentials are no longer valid, on the platform's own RabbitMQ.

New connections ask the platform (`access_middleware`); an open one would last, because RabbitMQ asks nobody again about a
login. Which logins were valid last is kept in a file, so that what is revoked while no listener runs is ended at its start.
Source: rabbitmqctl(8), `eval`; `rabbit_networking:close_all_user_connections/2`.
"""

import hashlib
import json
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

CONTROL_SECONDS = 30
USERS_AT_ONCE = 500
_NO_BROKER = 69  # EX_UNAVAILABLE: no broker, no connections
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_~/-]+\Z")

EndConnections = Callable[[Sequence[str]], None]


class ConnectionEnder:
    """Compares valid logins with those of the last time; `end` ends the connections of the users it is given."""

    def __init__(self, path: Path, end: EndConnections) -> None:
        self._path = path
        self._end = end

    def replace_device_logins(self, logins: dict[str, str]) -> bool:
        """Let these logins (user name to password hash) be valid and no others; False where nothing changed."""
        former = self._read()
        wanted = {user: hashlib.sha256(hashed.encode()).hexdigest() for user, hashed in logins.items()}
        if wanted == former:
            return False
        ended = [user for user, digest in former.items() if wanted.get(user) != digest]
        for start in range(0, len(ended), USERS_AT_ONCE):
            self._end(ended[start : start + USERS_AT_ONCE])
        self._write(wanted)  # last: what could not be ended is tried again
        return True

    def _read(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return known

    def _write(self, logins: dict[str, str]) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".logins.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(logins, file)
        Path(temporary).replace(self._path)


class BrokerControl:
    """rabbitmqctl, called as the supervisor's file `control.json` says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def end_connections(self, usernames: Sequence[str]) -> None:
        """End every connection of these users.

        Raises:
            OSError: it could not be done.
        """
        plain = [name for name in usernames if _PLAIN_NAME.match(name)]  # others cannot be devices; nothing of them reaches Erlang
        users = ", ".join(f'<<"{name}">>' for name in plain)
        close = 'fun(User) -> rabbit_networking:close_all_user_connections(User, "credential revoked") end'
        control = json.loads(self._path.read_text(encoding="utf-8"))
        try:
            done = subprocess.run(  # noqa: S603 - our own program, names checked above
                [control["program"], "--quiet", "eval", f"lists:foreach({close}, [{users}])."],
                env={**os.environ, **control["env"]},
                capture_output=True,
                text=True,
                timeout=CONTROL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise OSError(f"rabbitmqctl did not answer within {CONTROL_SECONDS} s") from exc
        if done.returncode not in {0, _NO_BROKER}:
            raise OSError(f"rabbitmqctl failed ({done.returncode}): {done.stderr.strip()[:300]}")
        logger.info("ended the connections of %d revoked logins", len(plain))
