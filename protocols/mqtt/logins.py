"""Keeps the password file of the platform's own broker in step with the devices' MQTT credentials.

PostgreSQL tells which tenant's credentials changed (NOTIFY `iiot_credentials`); every 30 s all are read again, which
covers expiry, a lost connection and suspended tenants. The broker reads the file on SIGHUP and drops revoked devices.
An external broker keeps its users itself.
"""

import fcntl
import logging
import os
import select
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone
from django_tenants.utils import schema_context

from devices.selectors import load_broker_logins
from devices.services import CREDENTIALS_CHANNEL
from iiot_site.lib.broker_logins import PLATFORM_USER, acl_text
from tenants.selectors import list_active_tenants

logger = logging.getLogger(__name__)

BROKER_PROCESS_NAME = "mosquitto"
RESYNC_SECONDS = 30.0
RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.5


class PasswordFile:
    """The broker's `username:hash` file and its ACL beside it. Locks their folder while changing them, as the supervisor does."""

    def __init__(self, path: Path, pid_file: Path) -> None:
        self._path = path
        self._pid_file = pid_file

    def replace_device_logins(self, logins: dict[str, str]) -> bool:
        """Write these logins next to the platform's own and tell the broker; False where nothing changed."""
        with self._locked():
            current = self._read()
            wanted = {user: hashed for user, hashed in current.items() if user == PLATFORM_USER} | dict(sorted(logins.items()))
            changes_rights = self._replace_rights(acl_text(wanted))
            if wanted == current and not changes_rights:
                return False
            self._write(self._path, "".join(f"{user}:{hashed}\n" for user, hashed in wanted.items()))
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


def load_tenant_logins(schema: str) -> dict[str, str]:
    """Return the valid logins of one tenant."""
    with schema_context(schema):
        return load_broker_logins(timezone.now())


class LoginSync:
    """A thread that follows changes of credentials until it is stopped."""

    def __init__(self, password_file: PasswordFile) -> None:
        self._password_file = password_file
        self._logins: dict[str, dict[str, str]] = {}
        self._failed: dict[str, str] = {}  # by schema
        self._stopped_by = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker-logins", daemon=True)

    @property
    def last_error(self) -> str:
        """Say what keeps credentials from being followed, "" while all is well."""
        return self._stopped_by or next(iter(self._failed.values()), "")

    def start(self) -> None:
        """Bring the file up to date, so that devices may connect, then follow changes in the background."""
        try:
            self.sync_all()
        except (DatabaseError, InterfaceError, OSError) as exc:
            self._stopped_by = f"broker logins could not be read: {exc}"
            logger.warning("%s", self._stopped_by)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def sync_all(self) -> None:
        """Read every tenant's credentials."""
        active = [tenant.schema_name for tenant in list_active_tenants()]
        self._logins = {schema: self._load(schema) for schema in active}
        self._publish()

    def sync_tenants(self, schemas: set[str]) -> None:
        """Read the credentials of these tenants, as far as they are active."""
        active = {tenant.schema_name for tenant in list_active_tenants()}
        for schema in schemas:
            self._logins[schema] = self._load(schema) if schema in active else {}
        self._publish()

    def _load(self, schema: str) -> dict[str, str]:
        """Return a tenant's logins; where they cannot be read its former ones, so that it does not hold up the others."""
        try:
            logins = load_tenant_logins(schema)
        except (DatabaseError, ValueError) as exc:
            self._failed[schema] = f"broker logins of {schema} could not be read: {exc}"
            logger.exception("broker logins of %s could not be read", schema)
            connection.close()
            return self._logins.get(schema, {})
        self._failed.pop(schema, None)
        return logins

    def _publish(self) -> None:
        merged = {user: hashed for logins in self._logins.values() for user, hashed in logins.items()}
        if self._password_file.replace_device_logins(merged):
            logger.info("gave the broker %d device logins", len(merged))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as exc:  # the listener's loop: whatever it was, revocations must go on
                self._stopped_by = f"broker logins are not followed: {type(exc).__name__}: {exc}"
                logger.exception("broker logins are not followed for the moment")
                self._stopping.wait(RETRY_SECONDS)
            finally:
                connection.close()

    def _follow(self) -> None:
        with psycopg.connect(**_connection_parameters(), autocommit=True) as notices:
            notices.execute(f"LISTEN {CREDENTIALS_CHANNEL}")
            while not self._stopping.is_set():
                self.sync_all()
                self._stopped_by = ""
                resync_at = time.monotonic() + RESYNC_SECONDS
                while time.monotonic() < resync_at and not self._stopping.is_set():
                    if changed := _changed_schemas(notices):
                        self.sync_tenants(changed)


def _changed_schemas(notices: psycopg.Connection) -> set[str]:
    """Wait a little for notifications and return the schemas they name."""
    select.select([notices.fileno()], [], [], _POLL_SECONDS)
    return {notice.payload for notice in notices.notifies(timeout=0)}


def _connection_parameters() -> dict[str, Any]:
    return dict(connection.get_connection_params())
