"""Databases for tests: a migrated template per state of the migration files, and cheap copies of it.

The template stays between runs. It holds the shared schema with the built-in roles, and the tenants acme and globex.
The next copy is made while a test runs: a thousand tables take a third of a second, on a busy machine two.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from tenants.migrating import create_schema, migrate_schema, migrate_shared_schema
from tenants.models import Tenant

ROOT = Path(__file__).resolve().parent.parent
TENANTS = {"acme": "Acme", "globex": "Globex"}
_LOCK = 0x11070002  # one builder at a time
_DROP_TRIES = 10
_TEST_NAME = re.compile(r"iiot_test_(\d+)(?:_next)?\Z")


def template_name() -> str:
    """Return the template's name: it changes with any migration file or pinned library."""
    files = [*sorted(ROOT.glob("*/migrations/*.py")), ROOT / "requirements.lock", ROOT / "tenants" / "permissions.py", Path(__file__)]
    digest = hashlib.sha256(b"".join(str(f.relative_to(ROOT)).encode() + f.read_bytes() for f in files))
    return f"iiot_template_{digest.hexdigest()[:16]}"


def use_database(name: str) -> None:
    """Let Django use the database `name` from the next statement on."""
    connections.close_all()
    connections.settings["default"]["NAME"] = name


class Databases:
    """Makes the template and this run's copy of it."""

    def __init__(self) -> None:
        self._maintenance = dict(connections.settings["default"])
        self.name = f"iiot_test_{os.getpid()}"
        self._next_name = f"{self.name}_next"
        self._worker = ThreadPoolExecutor(1, "next-database")
        self._next: Future[None] | None = None

    @contextmanager
    def _locked(self) -> Iterator[psycopg.Cursor]:
        config = self._maintenance
        with psycopg.connect(
            host=config["HOST"] or None,
            port=config["PORT"] or None,
            user=config["USER"] or None,
            password=config["PASSWORD"] or None,
            dbname=config["NAME"],
            autocommit=True,
        ) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            yield cursor

    def prepare(self) -> None:
        """Build the template if there is none for these migrations, and switch Django to a fresh copy."""
        with self._locked() as cursor:
            existing = {row[0] for row in cursor.execute("SELECT datname FROM pg_database").fetchall()}
            for name in existing:
                if (found := _TEST_NAME.match(name)) and not Path(f"/proc/{found[1]}").exists():
                    _drop(cursor, name)
            if template_name() not in existing:
                for name in existing:
                    if name.startswith("iiot_template_"):
                        _drop(cursor, name)
                self._build(cursor)
            _drop(cursor, self.name)
            _copy(cursor, self.name)
        use_database(self.name)

    def recreate(self) -> None:
        """Replace what a test left behind by a fresh copy."""
        connections.close_all()
        (self._next or self._begin_next()).result()
        with self._locked() as cursor:
            _drop(cursor, self.name)
            cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(self._next_name), sql.Identifier(self.name)))
        self._next = self._begin_next()

    def wait_for_next(self) -> None:
        """Wait until nothing is made beside the test: its transaction is one that PostgreSQL shows everybody as open."""
        if self._next is not None:
            self._next.result()

    def _begin_next(self) -> Future[None]:
        return self._worker.submit(self._make_next)

    def _make_next(self) -> None:
        with self._locked() as cursor:
            _copy(cursor, self._next_name)

    def remove(self) -> None:
        """Drop this run's copies."""
        connections.close_all()
        self._worker.shutdown()
        with self._locked() as cursor:
            _drop(cursor, self.name)
            _drop(cursor, self._next_name)

    def _build(self, cursor: psycopg.Cursor) -> None:
        unfinished = f"{template_name()}_unfinished"
        _drop(cursor, unfinished)
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
        use_database(unfinished)
        migrate_shared_schema()
        for slug, name in TENANTS.items():
            tenant = Tenant(slug=slug, name=name, schema_name=f"t_{slug}", status=Tenant.Status.ACTIVE)
            tenant.save()
            create_schema(tenant.schema_name)
            migrate_schema(tenant.schema_name, lambda progress: None)
        connections.close_all()
        cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(template_name())))


def _copy(cursor: psycopg.Cursor, name: str) -> None:
    cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template_name())))


def _drop(cursor: psycopg.Cursor, name: str) -> None:
    """Drop a database, whoever is connected.

    `WITH (FORCE)` fails where autovacuum is at work, which is not ours to end; without it PostgreSQL itself ends autovacuum.
    """
    for _ in range(_DROP_TRIES):
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user", [name])
        with suppress(psycopg.errors.ObjectInUse):  # after five seconds
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            return
    raise RuntimeError(f"the database {name} is in use")


def require_servers() -> None:
    """End the run with a hint where no servers are named."""
    missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
    if missing:
        pytest.exit(f"{' and '.join(missing)} not set: database tests need servers. Run `make test`.", returncode=4)
