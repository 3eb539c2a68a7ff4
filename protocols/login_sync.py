"""Keeps brokers in step with the devices' user names and passwords.

PostgreSQL tells which tenant's credentials changed (NOTIFY `iiot_credentials`); every 30 s all are read again, which
covers expiry, a lost connection and suspended tenants.
"""

import logging
import threading
import time
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone
from django_tenants.utils import schema_context

from devices.selectors import load_broker_logins
from devices.services import CREDENTIALS_CHANNEL
from protocols.notices import listen_to, take_notices
from tenants.selectors import list_active_tenants

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 30.0
RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.5


class LoginKeeper(Protocol):
    """What is kept in step."""

    def replace_device_logins(self, logins: dict[str, str]) -> bool:
        """Let these logins (user name to password hash) be valid and no others; False where nothing changed."""


def load_tenant_logins(schema: str) -> dict[str, str]:
    """Return the valid logins of one tenant."""
    with schema_context(schema):
        return load_broker_logins(timezone.now())


class LoginSync:
    """A thread that follows changes of credentials until it is stopped."""

    def __init__(self, keeper: LoginKeeper) -> None:
        self._keeper = keeper
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
        if self._keeper.replace_device_logins(merged):
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
        with listen_to(CREDENTIALS_CHANNEL) as notices:
            while not self._stopping.is_set():
                self.sync_all()
                self._stopped_by = ""
                resync_at = time.monotonic() + RESYNC_SECONDS
                while time.monotonic() < resync_at and not self._stopping.is_set():
                    if changed := take_notices(notices, wait_seconds=_POLL_SECONDS):
                        self.sync_tenants(set(changed))
