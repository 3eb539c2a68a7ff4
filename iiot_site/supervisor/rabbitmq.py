"""A private RabbitMQ, as any user, on its own ports, with a random login and an epmd of its own.

Debian's wrapper insists on the user rabbitmq; the script below it takes all paths from RABBITMQ_* variables. The Erlang
port mapper (epmd) would stay behind as a daemon: ours is a supervised child on its own port.
Source: rabbitmq.com/configure.html, /relocate.html, /definitions.html, /passwords.html (salted SHA-256).
"""

import base64
import getpass
import hashlib
import json
import secrets
from pathlib import Path

from iiot_site.supervisor.child import ProcessSpec
from iiot_site.supervisor.choice import find_program
from iiot_site.supervisor.data_folder import write_private
from iiot_site.supervisor.plan import WebAddress
from iiot_site.supervisor.probes import is_amqp_ready, is_listening
from iiot_site.supervisor.rabbitmq_bounds import BOUNDS, DEVICE_CHANNELS, ERLANG_ARGUMENTS, PATH_VARIABLE
from iiot_site.supervisor.servers import PrivateServer, ServerContext, with_death_signal

_USER = "iiot"
# Devices log in with the credentials that the platform keeps: the broker asks it (rabbitmq_auth_backend_http).
# Nothing is cached, so that a revoked login ends at once; a channel remembers what it was allowed by itself.
_CONFIG = """\
listeners.tcp.1 = {bind}:{port}
load_definitions = {data}/definitions.json
disk_free_limit.absolute = 1GB
max_message_size = 1048576
channel_max = {channels}
auth_backends.1 = internal
auth_backends.2 = http
auth_http.http_method = post
auth_http.user_path = {access}/user
auth_http.vhost_path = {access}/vhost
auth_http.resource_path = {access}/resource
auth_http.topic_path = {access}/topic
log.console = true
log.console.level = warning
log.file = false
"""


class RabbitmqServer(PrivateServer):
    """rabbitmq-server from the system. It takes 5-7 s to start; nobody waits for it."""

    def __init__(self, context: ServerContext, *, epmd_port: int, distribution_port: int) -> None:
        super().__init__(context)
        self._password = context.folder.secret("amqp")
        self._access_secret = context.folder.secret("broker_access")  # now: the web process reads it before we prepare
        self._epmd_port = epmd_port
        self._distribution_port = distribution_port
        self._data = context.folder.root / "rabbitmq"

    @property
    def url(self) -> str:
        return f"amqp://{_USER}:{self._password}@127.0.0.1:{self.context.port}/%2F"

    async def prepare(self) -> None:
        data = self.context.folder.private(self._data.name)
        definitions = {
            "vhosts": [{"name": "/"}],
            "users": [{"name": _USER, "password_hash": _password_hash(self._password), "tags": ""}],
            "permissions": [{"user": _USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        }
        write_private(data / "definitions.json", json.dumps(definitions))
        values = {
            "bind": self.context.bind,
            "port": self.context.port,
            "data": data,
            "access": self._access_url(),
            "channels": DEVICE_CHANNELS,
        }
        write_private(data / "rabbitmq.conf", _CONFIG.format(**values))
        write_private(data / "bounds.erl", BOUNDS)
        write_private(data / "control.json", json.dumps(self._control()))
        write_private(data / "enabled_plugins", "[rabbitmq_auth_backend_http].\n")
        write_private(data / "environment.conf", "")  # instead of /etc/rabbitmq/rabbitmq-env.conf

    def _access_url(self) -> str:
        web = WebAddress.from_environment(self.context.env)
        return f"http://{web.probe_host}:{web.port}/internal/broker/{self._access_secret}"

    def _control(self) -> dict[str, object]:
        """Say how the listener calls rabbitmqctl. It must not leave a port mapper of its own behind."""
        names = ("HOME", "LOGNAME", "RABBITMQ_CONF_ENV_FILE", "RABBITMQ_NODENAME", "ERL_EPMD_PORT")
        env = {name: value for name, value in self._environment().items() if name in names}
        program = self.context.choice.program.with_name("rabbitmqctl")
        return {"program": str(program), "env": {**env, "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false"}}

    def _environment(self) -> dict[str, str]:
        data = str(self._data)
        return {
            **self.context.env,
            "HOME": data,  # where the Erlang cookie is kept
            "LOGNAME": getpass.getuser(),
            "RABBITMQ_CONF_ENV_FILE": f"{data}/environment.conf",
            "RABBITMQ_CONFIG_FILE": f"{data}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{data}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{data}/mnesia",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{data}/config",
            "RABBITMQ_SCHEMA_DIR": f"{data}/schema",
            "RABBITMQ_LOG_BASE": str(self.context.folder.log),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{data}/pid",
            "RABBITMQ_NODENAME": "iiot@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.context.bind,
            "RABBITMQ_NODE_PORT": str(self.context.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # No busy waiting (it would eat a core while idle), and distribution on loopback only.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {{127,0,0,1}} {ERLANG_ARGUMENTS}"
            ),
            PATH_VARIABLE: f"{data}/bounds.erl",
            # Makes the script exec the Erlang machine instead of waiting for it in a shell.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def processes(self) -> list[ProcessSpec]:
        env = self._environment()
        epmd = find_program("epmd") or Path("epmd")
        specs = [
            ProcessSpec(
                name="epmd",
                argv=(str(epmd), "-port", str(self._epmd_port), "-address", "127.0.0.1"),
                log=self.context.folder.log / "epmd.log",
                cwd=self.context.folder.root,
                env=env,
                is_ready=lambda: is_listening("127.0.0.1", self._epmd_port),
            ),
            ProcessSpec(
                name=self.context.name,
                argv=(str(self.context.choice.program),),
                log=self.context.log,
                cwd=self.context.folder.root,
                env=env,
                is_ready=lambda: is_amqp_ready("127.0.0.1", self.context.port, username=_USER, password=self._password),
            ),
        ]
        return [with_death_signal(spec) for spec in specs]

    async def version(self) -> str:
        folders = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
        return f"RabbitMQ {folders[-1].name.partition('-')[2]}" if folders else "RabbitMQ"


def _password_hash(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
