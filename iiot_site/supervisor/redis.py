"""A private Redis or Valkey: loopback, password, append-only file, so that queued tasks survive a restart."""

from iiot_site.supervisor.child import ProcessSpec
from iiot_site.supervisor.commands import run_command
from iiot_site.supervisor.data_folder import write_private
from iiot_site.supervisor.probes import is_redis_ready
from iiot_site.supervisor.servers import PrivateServer, ServerContext, with_death_signal

_CONFIG = """\
bind {bind}
port {port}
dir {data}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
supervised no
loglevel notice
logfile ""
tcp-keepalive 60
"""


class RedisServer(PrivateServer):
    """redis-server or valkey-server. Each keeps data of its own: Redis 7 cannot read what Valkey 9 wrote."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        self._password = context.folder.secret("redis")
        self._data = context.folder.root / ("valkey" if "valkey" in context.choice.program.name else "redis")

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.context.port}"

    async def prepare(self) -> None:
        data = self.context.folder.private(self._data.name)
        config = _CONFIG.format(bind=self.context.bind, port=self.context.port, data=_quoted(str(data)), password=self._password)
        write_private(data / "server.conf", config)

    def processes(self) -> list[ProcessSpec]:
        spec = ProcessSpec(
            name=self.context.name,
            argv=(str(self.context.choice.program), str(self._data / "server.conf")),
            log=self.context.log,
            cwd=self.context.folder.root,
            env=self.context.env,
            is_ready=lambda: is_redis_ready("127.0.0.1", self.context.port, password=self._password),
        )
        return [with_death_signal(spec)]

    async def version(self) -> str:
        words = (await run_command(str(self.context.choice.program), "--version")).split()
        name = "Valkey" if "valkey" in self._data.name else "Redis"
        return " ".join([name, *(word.removeprefix("v=") for word in words if word.startswith("v="))])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
