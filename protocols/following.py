"""Keeps a listener in step with what tenants configure: read at the start, at each notice of a change, and every 30 s anyway.

PostgreSQL tells which tenant's connections changed (NOTIFY `iiot_connections`, sent by `connections.services`). Reading
all again covers a lost connection, suspended tenants, and devices that were disabled or deleted.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import DatabaseError, connection
from django_tenants.utils import schema_context

from connections.services import CHANGES_CHANNEL
from protocols.notices import listen_to, take_notices
from tenants.selectors import list_active_tenants

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 30.0
RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.1
T = TypeVar("T")
Key = tuple[str, int]  # schema, id of a connection


@dataclass(frozen=True, slots=True)
class TenantSettings(Generic[T]):
    """What one tenant has configured."""

    slug: str
    content: T


def share_out(keys: Iterable[Key], *, limit: int) -> set[Key]:
    """Return which connections are served where there are more than `limit`: as many of each tenant as of any other."""
    ranks: Counter[str] = Counter()
    ranked = []
    for place, key in enumerate(keys):
        ranks[key[0]] += 1
        ranked.append((ranks[key[0]], place, key))
    return {key for _, _, key in sorted(ranked)[:limit]}


class SettingsFollower(Generic[T]):
    """A thread that calls `publish` with the settings of all active tenants, by schema, whenever they may have changed."""

    def __init__(self, *, load: Callable[[], T], publish: Callable[[Mapping[str, TenantSettings[T]]], None]) -> None:
        self._load = load
        self._publish = publish
        self._known: dict[str, TenantSettings[T]] = {}
        self._failed: dict[str, str] = {}  # by schema
        self._stopped_by = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settings", daemon=True)

    @property
    def last_error(self) -> str:
        """Say what keeps settings from being followed, "" while all is well."""
        return self._stopped_by or next(iter(self._failed.values()), "")

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def sync_all(self) -> None:
        """Read every active tenant's settings."""
        slugs = {tenant.schema_name: tenant.slug for tenant in list_active_tenants()}
        self._known = {schema: settings for schema, slug in slugs.items() if (settings := self._load_tenant(schema, slug)) is not None}
        self._publish(self._known)

    def _sync_tenants(self, schemas: set[str]) -> None:
        slugs = {tenant.schema_name: tenant.slug for tenant in list_active_tenants()}
        for schema in schemas & slugs.keys():
            settings = self._load_tenant(schema, slugs[schema])
            if settings is not None:
                self._known[schema] = settings
        self._publish(self._known)

    def _load_tenant(self, schema: str, slug: str) -> TenantSettings[T] | None:
        """Return a tenant's settings; where they cannot be read its former ones, so that it does not hold up the others."""
        try:
            with schema_context(schema):
                content = self._load()
        except DatabaseError as exc:
            self._failed[schema] = f"the connections of {schema} could not be read: {exc}"
            logger.warning("%s", self._failed[schema])
            connection.close()
            return self._known.get(schema)
        self._failed.pop(schema, None)
        return TenantSettings(slug, content)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as exc:  # the listener's loop: whatever it was, changes must go on to be followed
                self._stopped_by = f"changes of connections are not followed: {type(exc).__name__}: {exc}"
                logger.exception("changes of connections are not followed for the moment")
                self._stopping.wait(RETRY_SECONDS)
            finally:
                connection.close()

    def _follow(self) -> None:
        with listen_to(CHANGES_CHANNEL) as notices:
            while not self._stopping.is_set():
                self.sync_all()
                self._stopped_by = ""
                resync_at = time.monotonic() + RESYNC_SECONDS
                while time.monotonic() < resync_at and not self._stopping.is_set():
                    if changed := take_notices(notices, wait_seconds=_POLL_SECONDS):
                        self._sync_tenants(set(changed))
