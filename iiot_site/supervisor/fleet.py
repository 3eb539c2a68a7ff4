"""All servers at once: choose, prepare, start, wait, tell their addresses."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from iiot_site.supervisor.amqtt import AmqttServer
from iiot_site.supervisor.child import State
from iiot_site.supervisor.choice import (
    AMQP,
    MQTT,
    NEEDS,
    POSTGRES,
    REDIS,
    Choice,
    Need,
    Source,
    choose,
    find_candidates,
    read_mode,
)
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.errors import StepFailedError, StoppedError, SupervisorError
from iiot_site.supervisor.mosquitto import MosquittoServer
from iiot_site.supervisor.ports import PortBook
from iiot_site.supervisor.postgres import PostgresServer, data_major
from iiot_site.supervisor.probes import address_of, is_url_reachable
from iiot_site.supervisor.rabbitmq import RabbitmqServer
from iiot_site.supervisor.redis import RedisServer
from iiot_site.supervisor.servers import PrivateServer, ServerContext
from iiot_site.supervisor.supervisor import Supervisor

_START_SECONDS = 90.0  # RabbitMQ takes 9, on a machine with ten times the work 30
_REACH_SECONDS = 10.0
_STANDARD_PORTS = {MQTT: 1883, AMQP: 5672}
_COAP_PORT = 5683
_OPCUA_PORT = 4840


def choose_servers(folder: DataFolder, environment: Mapping[str, str]) -> dict[Need, Choice]:
    """Choose a server for every need.

    Raises: ServerMissingError
    """
    mode = read_mode(environment)
    majors = {POSTGRES: data_major(folder)}
    return {
        need: choose(
            need,
            environment=environment,
            candidates=find_candidates(need),
            mode=mode,
            data_major=majors.get(need, ""),
        )
        for need in NEEDS
    }


@dataclass(frozen=True)
class StartedServers:
    """What came of it. `is_new_database` where PostgreSQL's data folder was made just now."""

    addresses: Mapping[str, str]
    is_private_database: bool
    is_new_database: bool


class Fleet:
    """The servers of one supervisor."""

    def __init__(self, supervisor: Supervisor, *, prefer_standard_ports: bool, with_simulated_plant: bool = False) -> None:
        self._supervisor = supervisor
        self._prefer_standard_ports = prefer_standard_ports
        self._with_simulated_plant = with_simulated_plant
        self._choices: dict[Need, Choice] = {}
        self._servers: dict[Need, PrivateServer] = {}
        self._addresses: dict[str, str] = {}

    def choose(self) -> None:
        """Choose the servers and their ports, and tell their addresses; nothing is started yet.

        Raises: ServerMissingError
        """
        supervisor = self._supervisor
        choices = self._choices = choose_servers(supervisor.folder, supervisor.env)
        servers = self._servers = self._build(choices)
        urls = {need: choice.url for need, choice in choices.items()} | {need: s.url for need, s in servers.items()}
        addresses = {need.variable: urls[need] for need in NEEDS} | self._public(MQTT, urls) | self._public(AMQP, urls)
        addresses |= self._coap() | self._opcua() | self._simulated_plant()
        self._addresses = addresses
        supervisor.publish_addresses(addresses)

    async def start(self) -> StartedServers:
        """Start all servers and wait for those that the platform cannot do without.

        Raises: StepFailedError
        """
        supervisor, choices, servers = self._supervisor, self._choices, self._servers
        waiting = [self._bring_up(servers[need]) for need in servers if need != AMQP]
        waiting += [self._reach(choice) for choice in choices.values() if choice.source == Source.ENVIRONMENT]
        await asyncio.gather(*waiting)
        if choices[AMQP].source == Source.OFF:
            supervisor.note_server(AMQP.name, State.OFF)
            supervisor.console.step(AMQP.name, f"off; to have AMQP: {AMQP.hint}")
        postgres = servers.get(POSTGRES)
        return StartedServers(
            addresses=self._addresses,
            is_private_database=postgres is not None,
            is_new_database=isinstance(postgres, PostgresServer) and postgres.is_new,
        )

    @property
    def has_amqp(self) -> bool:
        """Whether there is an AMQP broker."""
        return self._choices[AMQP].source != Source.OFF

    async def start_late(self) -> None:
        """Start RabbitMQ: its 5 s on both cores would hold up the platform, which does without it."""
        late = self._servers.get(AMQP)
        if late is None:
            return
        try:
            await self._bring_up(late)
        except StoppedError:
            return
        except SupervisorError as error:
            self._supervisor.console.step(AMQP.name, f"is missing for now: {error}")

    def _build(self, choices: Mapping[Need, Choice]) -> dict[Need, PrivateServer]:
        ports = PortBook(self._supervisor.folder.run / "ports.json")
        env = self._supervisor.env
        servers: dict[Need, PrivateServer] = {}
        for need, choice in choices.items():
            if choice.source in (Source.ENVIRONMENT, Source.OFF):
                continue
            context = ServerContext(
                folder=self._supervisor.folder,
                choice=choice,
                port=ports.port_for(need.name, preferred=_STANDARD_PORTS.get(need) if self._prefer_standard_ports else None),
                env=env,
                bind=(env.get(f"IIOT_{need.name.upper()}_BIND") if need in _STANDARD_PORTS else "") or "127.0.0.1",
            )
            if need == POSTGRES:
                servers[need] = PostgresServer(context)
            elif need == REDIS:
                servers[need] = RedisServer(context)
            elif need == MQTT:
                if choice.source == Source.PACKAGED:
                    servers[need] = AmqttServer(context)
                else:
                    servers[need] = MosquittoServer(context, platform_port=ports.port_for("mqtt-platform"))
            else:
                epmd, distribution = ports.port_for("epmd"), ports.port_for("amqp-distribution")
                servers[need] = RabbitmqServer(context, epmd_port=epmd, distribution_port=distribution)
        return servers

    def _public(self, need: Need, urls: Mapping[Need, str]) -> dict[str, str]:
        """Say where devices find a broker, which a proxy or another name may place elsewhere."""
        if not urls[need]:
            return {}
        host, port = address_of(urls[need])
        if need in self._servers:
            port = self._servers[need].context.port  # the one in the address may be the platform's own
        env, name = self._supervisor.env, need.name.upper()
        return {
            f"{name}_PUBLIC_HOST": env.get(f"{name}_PUBLIC_HOST") or ("localhost" if host == "127.0.0.1" else host),
            f"{name}_PUBLIC_PORT": env.get(f"{name}_PUBLIC_PORT") or str(port),
        }

    def _coap(self) -> dict[str, str]:
        """Say where our own CoAP server listens, and where devices find it: by number, a name may mean IPv6 first."""
        env = self._supervisor.env
        ports = PortBook(self._supervisor.folder.run / "ports.json")
        wanted = _COAP_PORT if self._prefer_standard_ports else None
        port = env.get("IIOT_COAP_PORT") or str(ports.port_for("coap", preferred=wanted))
        return {
            "IIOT_COAP_PORT": port,
            "COAP_PUBLIC_HOST": env.get("COAP_PUBLIC_HOST") or "127.0.0.1",
            "COAP_PUBLIC_PORT": env.get("COAP_PUBLIC_PORT") or port,
        }

    def _opcua(self) -> dict[str, str]:
        """Say where our own OPC UA server listens, and where clients find it; port 0 keeps it shut."""
        env = self._supervisor.env
        ports = PortBook(self._supervisor.folder.run / "ports.json")
        wanted = _OPCUA_PORT if self._prefer_standard_ports else None
        port = env.get("IIOT_OPCUA_PORT") or str(ports.port_for("opcua", preferred=wanted))
        return {
            "IIOT_OPCUA_PORT": port,
            "OPCUA_PUBLIC_HOST": env.get("OPCUA_PUBLIC_HOST") or "localhost",
            "OPCUA_PUBLIC_PORT": env.get("OPCUA_PUBLIC_PORT") or port,
        }

    def _simulated_plant(self) -> dict[str, str]:
        """Say where the demo's machines stand that the platform calls by itself."""
        if not self._with_simulated_plant:
            return {}
        ports = PortBook(self._supervisor.folder.run / "ports.json")
        return {f"IIOT_DEMO_{name.upper()}_PORT": str(ports.port_for(f"demo-{name}")) for name in ("opcua", "modbus")}

    async def _bring_up(self, server: PrivateServer) -> None:
        started = time.monotonic()
        version = asyncio.create_task(server.version())
        await server.prepare()
        for spec in server.processes():
            child = self._supervisor.start_server(spec)
            await self._supervisor.wait_ready(child, timeout_seconds=_START_SECONDS)
        await server.finish()
        context = server.context
        where = f"{context.choice.source}, port {context.port}"
        self._supervisor.console.step(context.name, f"{await version} ({where}) up in {time.monotonic() - started:.1f} s")

    async def _reach(self, choice: Choice) -> None:
        """Wait for a server that somebody else runs.

        Raises: StepFailedError
        """
        host, port = address_of(choice.url)
        name = choice.need.name
        deadline = time.monotonic() + _REACH_SECONDS
        while not await is_url_reachable(choice.url):
            if time.monotonic() > deadline:
                text = f"{choice.need.variable} names {host}:{port}, which does not answer (or refuses the login)."
                if choice.need.is_required:
                    raise StepFailedError(text)
                self._supervisor.console.step(name, text)
                break
            await asyncio.sleep(0.3)
        else:
            self._supervisor.console.step(name, f"{host}:{port} ({choice.need.variable})")
        self._supervisor.note_server(name, State.EXTERNAL)
