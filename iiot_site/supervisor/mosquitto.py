"""A private mosquitto: logins and rights per device, messages kept on disk.

Source: mosquitto.conf(5) of 2.0. A username is `<tenant>/<device>`; the ACL gives each device its own topics
only. Subscriptions to wildcards are accepted, yet deliver nothing that the reader may not read.
What a crash may lose: messages the broker took within the last `autosave_interval` seconds.
It tells the listener who comes and goes (`protocols.mqtt.crowding`), which ends the crowds that mosquitto has no bound for.
Devices and the platform's own processes, the TLS door among them, have a port each: places are counted per port, so who takes
all those of the devices' port shuts out neither the platform nor those who come over TLS.
`memory_limit` is not set: a broker that reached it could not send its listener what it had in flight, and never came out of it.
"""

import getpass

from iiot_site.lib.broker_logins import PLATFORM_USER, acl_text
from iiot_site.supervisor.broker_files import ensure_platform_login, read_logins
from iiot_site.supervisor.child import ProcessSpec
from iiot_site.supervisor.commands import run_command
from iiot_site.supervisor.data_folder import write_private
from iiot_site.supervisor.errors import StepFailedError
from iiot_site.supervisor.probes import is_mqtt_ready
from iiot_site.supervisor.servers import PrivateServer, ServerContext, with_death_signal

_CONFIG = """\
user {user}
pid_file {run}/mosquitto.pid
listener {port} {bind}
max_connections {places}
listener {platform_port} 127.0.0.1
max_connections {places}
allow_anonymous false
password_file {data}/passwords
acl_file {data}/acl
persistence true
persistence_location {data}/
autosave_interval 5
persistent_client_expiration 30d
max_queued_messages 0
max_queued_bytes 268435456
max_inflight_messages 15000
max_packet_size {packet_bytes}
set_tcp_nodelay true
log_dest stderr
log_dest topic
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
connection_messages true
"""
_PLACES = 15_000
_MAX_MESSAGE_BYTES = 256 * 1024  # IIOT_MAX_MESSAGE_BYTES, where it is not set


class MosquittoServer(PrivateServer):
    """mosquitto from the system."""

    def __init__(self, context: ServerContext, *, platform_port: int) -> None:
        super().__init__(context)
        self._platform_port = platform_port
        self._password = context.folder.secret("mqtt")
        self._data = context.folder.root / "mosquitto"

    @property
    def url(self) -> str:
        return f"mqtt://{PLATFORM_USER}:{self._password}@127.0.0.1:{self._platform_port}"

    async def prepare(self) -> None:
        data = self.context.folder.private(self._data.name)
        ensure_platform_login(data / "passwords", self._password)
        write_private(data / "acl", acl_text(read_logins(data / "passwords")))
        values = {
            # Started by root, mosquitto would become the user mosquitto, who may not enter our folder.
            "user": getpass.getuser(),
            "run": self.context.folder.run,
            "data": data,
            "port": self.context.port,
            "bind": self.context.bind,
            "platform_port": self._platform_port,
            "places": _PLACES,
            # Twice of what is taken, so that what is somewhat too large is refused with its reason; beyond that the connection ends.
            "packet_bytes": 2 * int(self.context.env.get("IIOT_MAX_MESSAGE_BYTES") or _MAX_MESSAGE_BYTES),
        }
        write_private(data / "mosquitto.conf", _CONFIG.format(**values))

    def processes(self) -> list[ProcessSpec]:
        pid_file = self.context.folder.run / "mosquitto.pid"
        spec = ProcessSpec(
            name=self.context.name,
            argv=(str(self.context.choice.program), "-c", str(self._data / "mosquitto.conf")),
            log=self.context.log,
            cwd=self.context.folder.root,
            env=self.context.env,
            is_ready=lambda: is_mqtt_ready("127.0.0.1", self._platform_port, username=PLATFORM_USER, password=self._password),
            before_start=lambda: pid_file.unlink(missing_ok=True),
        )
        return [with_death_signal(spec)]

    async def version(self) -> str:
        try:
            words = await run_command(str(self.context.choice.program), "-h")
        except StepFailedError as error:  # older versions exit with 3 after printing their help
            words = str(error).partition("\n")[2]
        return words.splitlines()[0].replace(" version", "")
