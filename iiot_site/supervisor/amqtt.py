"""The packaged MQTT broker (see `amqtt_broker`) as a private server."""

import importlib.metadata
import sys
from pathlib import Path

from iiot_site.lib.broker_logins import PLATFORM_USER
from iiot_site.supervisor.broker_files import ensure_platform_login
from iiot_site.supervisor.child import ProcessSpec
from iiot_site.supervisor.probes import is_mqtt_ready
from iiot_site.supervisor.servers import PrivateServer, ServerContext, with_death_signal

_PROJECT = Path(__file__).resolve().parents[2]


class AmqttServer(PrivateServer):
    """amqtt, run as a child process. It reads the password file that mosquitto would read."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        self._password = context.folder.secret("mqtt")
        self._password_file = context.folder.root / "mosquitto" / "passwords"

    @property
    def url(self) -> str:
        return f"mqtt://{PLATFORM_USER}:{self._password}@127.0.0.1:{self.context.port}"

    async def prepare(self) -> None:
        self.context.folder.private(self._password_file.parent.name)
        ensure_platform_login(self._password_file, self._password)

    def processes(self) -> list[ProcessSpec]:
        arguments = (str(self.context.port), str(self._password_file), self.context.bind)
        spec = ProcessSpec(
            name=self.context.name,
            argv=(sys.executable, "-m", "iiot_site.supervisor.amqtt_broker", *arguments),
            log=self.context.log,
            cwd=_PROJECT,
            env=self.context.env,
            is_ready=lambda: is_mqtt_ready("127.0.0.1", self.context.port, username=PLATFORM_USER, password=self._password),
        )
        return [with_death_signal(spec)]

    async def version(self) -> str:
        return f"amqtt {importlib.metadata.version('amqtt')}"
