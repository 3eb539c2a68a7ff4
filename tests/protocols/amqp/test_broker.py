"""Access on a real RabbitMQ that asks a real web process: devices, outsiders, and a broker that goes away."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAuthenticationError

from devices.models import DeviceCredential
from devices.services import issue_credential, revoke_credential
from iiot_site.supervisor.child import Child
from iiot_site.supervisor.choice import AMQP, Choice, Source, find_candidates
from iiot_site.supervisor.console import Console
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.ports import PortBook
from iiot_site.supervisor.probes import is_amqp_ready
from iiot_site.supervisor.rabbitmq import RabbitmqServer
from iiot_site.supervisor.rabbitmq_bounds import DEVICE_CHANNELS, DEVICE_CONNECTIONS
from iiot_site.supervisor.servers import ServerContext
from iiot_site.supervisor.supervisor import Supervisor
from protocols.amqp.consumer import connection_parameters
from protocols.amqp.logins import BrokerControl, ConnectionEnder
from protocols.amqp.names import TELEMETRY_EXCHANGE, TELEMETRY_QUEUE
from protocols.broker_address import BrokerAddress, parse_amqp_url
from protocols.login_sync import LoginSync
from telemetry.models import Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.ports import free_port
from tests.protocols.amqp.conftest import Publisher, RunListener
from tests.waiting import WAIT_SECONDS, wait_until
from tests.web_server import run_web_server

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class Rabbit:
    """A running RabbitMQ that asks a web process on `web_port`."""

    def __init__(self, server: RabbitmqServer, *, web_port: int, child: Child) -> None:
        self.runner: asyncio.Runner | None = None
        self.address = parse_amqp_url(server.url)
        self.folder = server.context.folder.root / "rabbitmq"
        self.web_port = web_port
        self.secret = server.context.folder.secret("broker_access")
        self.child = child

    def supervise_until(self, is_true: Callable[[], bool]) -> None:
        """Let the supervisor do its work, such as starting a killed broker again, until something has happened."""
        runner = self.runner
        assert runner is not None

        def look() -> bool:
            runner.run(asyncio.sleep(0.1))
            return is_true()

        wait_until(look)


@contextlib.asynccontextmanager
async def running_rabbit(root: Path) -> AsyncIterator[Rabbit]:
    folder = DataFolder(root)
    [candidate, *_] = find_candidates(AMQP)
    web_port = free_port()
    async with Supervisor(folder, console=Console(to_stderr=True), env={**os.environ, "IIOT_HTTP_PORT": str(web_port)}) as supervisor:
        ports = PortBook(folder.run / "ports.json")
        choice = Choice(AMQP, Source.SYSTEM, candidate.program)
        context = ServerContext(folder=folder, choice=choice, port=ports.port_for("amqp"), env=supervisor.env)
        server = RabbitmqServer(context, epmd_port=ports.port_for("epmd"), distribution_port=ports.port_for("amqp-distribution"))
        await server.prepare()
        children = []
        for spec in server.processes():
            children.append(supervisor.start_server(spec))
            await supervisor.wait_ready(children[-1], timeout_seconds=WAIT_SECONDS)
        yield Rabbit(server, web_port=web_port, child=children[-1])


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    if not find_candidates(AMQP):
        pytest.skip("RabbitMQ is not installed (Debian: rabbitmq-server)")
    with asyncio.Runner() as runner:
        context = running_rabbit(tmp_path_factory.mktemp("rabbit"))
        running = runner.run(context.__aenter__())
        running.runner = runner
        yield running
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def broker(rabbit: Rabbit) -> BrokerAddress:
    return rabbit.address


@pytest.fixture
def web(rabbit: Rabbit, process_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The web process that the broker asks, on the test's database."""
    env = {**process_env, "IIOT_BROKER_SECRET": rabbit.secret}
    with run_web_server(env, tmp_path / "web.log", port=rabbit.web_port) as address:
        yield address


LogIn = Callable[[str], Any]


@pytest.fixture
def log_in(rabbit: Rabbit, web: str, acme: Tenant, globex: Tenant, make_device: MakeDevice, platform: Publisher) -> Iterator[LogIn]:
    """Return `log_in("acme/pump-7")`: a channel with confirms on a connection of that device. There are three devices."""
    secrets: dict[str, str] = {}
    for tenant, key in ((acme, "pump-7"), (acme, "fan-1"), (globex, "pump-7")):
        with tenant_context(tenant):
            issued = issue_credential(device=make_device(key), kind=DeviceCredential.Kind.MQTT, now=timezone.now())
        secrets[issued.username] = issued.secret
    connections: list[pika.BlockingConnection] = []

    def make(username: str, *, password: str = "") -> Any:
        login = pika.PlainCredentials(username, password or secrets.get(username, "none"))
        parameters = pika.ConnectionParameters(rabbit.address.host, rabbit.address.port, credentials=login)
        connections.append(pika.BlockingConnection(parameters))
        channel = connections[-1].channel()
        channel.confirm_delivery()
        return channel

    yield make
    for connection in connections:
        with contextlib.suppress(AMQPError):  # ended by the broker
            if connection.is_open:
                connection.close()


def assert_refused(operation: Callable[[], object]) -> None:
    with pytest.raises(ChannelClosedByBroker) as refusal:
        operation()
    assert refusal.value.reply_code == 403


def publish(channel: Any, key: str, body: bytes = b"{}", *, exchange: str = TELEMETRY_EXCHANGE) -> None:
    channel.basic_publish(exchange, key, body, mandatory=True)


def test_a_device_publishes_under_its_own_key_and_no_other(log_in: LogIn, platform: Publisher) -> None:
    publish(log_in("acme/pump-7"), "acme.pump-7.telemetry")
    publish(log_in("acme/pump-7"), "acme.pump-7.commands.response")
    wait_until(lambda: platform.waiting() == 2)
    for key in (
        "acme.fan-1.telemetry",
        "globex.pump-7.telemetry",
        "acme.pump-7.commands",
        "acme.pump-7",
        "acme.fan-1.commands.response",
        "globex.pump-7.commands.response",
    ):
        assert_refused(lambda key=key: publish(log_in("acme/pump-7"), key))  # type: ignore[misc]  # called at once
    # Neither round the exchange nor through another.
    for exchange, key in (("", TELEMETRY_QUEUE), ("iiot.dead", ""), ("iiot.commands", "acme.fan-1.commands"), ("amq.topic", "x")):
        assert_refused(lambda e=exchange, k=key: publish(log_in("acme/pump-7"), k, exchange=e))  # type: ignore[misc]  # called at once
    assert platform.waiting() == 2


def test_further_keys_in_a_header_do_not_change_who_sent_it(log_in: LogIn, platform: Publisher) -> None:
    headers = {"CC": ["globex.pump-7.telemetry"], "BCC": ["acme.fan-1.telemetry"]}
    log_in("acme/pump-7").basic_publish(
        TELEMETRY_EXCHANGE, "acme.pump-7.telemetry", b"{}", pika.BasicProperties(headers=headers), mandatory=True
    )
    wait_until(lambda: platform.waiting() == 1)
    method, _, _ = platform.channel.basic_get(TELEMETRY_QUEUE, auto_ack=True)
    assert method.routing_key == "acme.pump-7.telemetry"


def test_nobody_publishes_as_somebody_else(log_in: LogIn) -> None:
    with pytest.raises(ChannelClosedByBroker, match="user_id"):
        log_in("acme/pump-7").basic_publish(
            TELEMETRY_EXCHANGE, "acme.pump-7.telemetry", b"{}", pika.BasicProperties(user_id="globex/pump-7")
        )


def test_a_device_reads_its_own_commands_and_nobody_elses(log_in: LogIn, platform: Publisher) -> None:
    own = "iiot.commands.acme.pump-7"
    pump = log_in("acme/pump-7")
    pump.queue_declare(own, durable=True)
    platform.channel.queue_bind(own, "iiot.commands", "acme.pump-7.commands")
    platform.channel.basic_publish("iiot.commands", "acme.pump-7.commands", b"start", mandatory=True)
    method, _, body = pump.basic_get(own, auto_ack=True)
    assert (method.routing_key, body) == ("acme.pump-7.commands", b"start")
    for outsider in ("acme/fan-1", "globex/pump-7"):
        for operation in (
            lambda c: c.basic_get(own),
            lambda c: c.basic_consume(own, lambda *_: None),
            lambda c: c.queue_purge(own),
            lambda c: c.queue_delete(own),
            lambda c: c.queue_declare(own, durable=True),
            lambda c: c.queue_bind(own, "iiot.commands", "#"),
            lambda c: c.basic_get(TELEMETRY_QUEUE),
            lambda c: c.basic_get("iiot.dead"),
            lambda c: c.queue_declare(""),
            lambda c: c.exchange_declare("mine"),
        ):
            assert_refused(lambda o=operation, name=outsider: o(log_in(name)))  # type: ignore[misc]  # called at once
    pump.queue_delete(own)


def test_a_device_binds_nothing_neither_its_queue_nor_exchanges(log_in: LogIn) -> None:
    own, key = "iiot.commands.acme.pump-7", "acme.pump-7.commands"
    log_in("acme/pump-7").queue_declare(own, durable=True)
    for operation in (
        lambda c: c.queue_bind(own, "iiot.commands", key),
        lambda c: c.queue_bind(own, "iiot.commands", "#"),
        lambda c: c.queue_bind(own, "iiot.commands", key, arguments={"x": "y" * 1000}),
        lambda c: c.queue_bind(own, TELEMETRY_EXCHANGE, "acme.fan-1.telemetry"),
        lambda c: c.exchange_bind(TELEMETRY_EXCHANGE, "iiot.commands", key),
        lambda c: c.exchange_bind(TELEMETRY_EXCHANGE, "iiot.commands", key, arguments={"x": "y" * 1000}),
        lambda c: c.exchange_bind(TELEMETRY_EXCHANGE, TELEMETRY_EXCHANGE, "acme.pump-7.telemetry"),
    ):
        assert_refused(lambda o=operation: o(log_in("acme/pump-7")))  # type: ignore[misc]  # called at once
    log_in("acme/pump-7").queue_delete(own)


def test_a_revoked_login_is_disconnected(log_in: LogIn, rabbit: Rabbit, acme: Tenant, tmp_path: Path) -> None:
    ender = ConnectionEnder(tmp_path / "logins.json", BrokerControl(rabbit.folder / "control.json").end_connections)
    sync = LoginSync(ender)
    sync.sync_all()
    pump, fan = log_in("acme/pump-7"), log_in("acme/fan-1")
    with tenant_context(acme):
        revoke_credential(credential=DeviceCredential.objects.get(identifier="acme/pump-7"), now=timezone.now())
    sync.sync_all()
    with pytest.raises(ConnectionClosedByBroker, match="revoked"):
        publish(pump, "acme.pump-7.telemetry")
    publish(fan, "acme.fan-1.telemetry")
    with pytest.raises(ProbableAuthenticationError):
        log_in("acme/pump-7")


@pytest.mark.parametrize(("username", "password"), [("acme/pump-7", "wrong"), ("acme/nobody", "x"), ("iiot", "wrong"), ("guest", "guest")])
def test_a_wrong_login_is_refused(log_in: LogIn, username: str, password: str) -> None:
    with pytest.raises(ProbableAuthenticationError):
        log_in(username, password=password)  # type: ignore[call-arg]  # see the fixture


def test_only_a_broker_that_knows_the_login_is_ready(rabbit: Rabbit) -> None:
    host, port, username, password = rabbit.address.host, rabbit.address.port, rabbit.address.username, rabbit.address.password
    assert asyncio.run(is_amqp_ready(host, port))
    assert asyncio.run(is_amqp_ready(host, port, username=username, password=password))
    assert not asyncio.run(is_amqp_ready(host, port, username=username, password="another platform's"))


def is_alive(connection: Any) -> bool:
    with contextlib.suppress(AMQPError):
        if connection.is_open:
            connection.process_data_events(0)
    return bool(connection.is_open)


def test_a_device_has_ten_connections_and_the_oldest_of_more_are_ended(log_in: LogIn, rabbit: Rabbit) -> None:
    others = [log_in("acme/fan-1").connection, log_in("globex/pump-7").connection]
    connections = [log_in("acme/pump-7").connection for _ in range(DEVICE_CONNECTIONS + 3)]
    parameters = connection_parameters(rabbit.address, name="test")
    platforms = [pika.BlockingConnection(parameters) for _ in range(DEVICE_CONNECTIONS + 3)]
    wait_until(lambda: not any(map(is_alive, connections[:3])))
    assert all(map(is_alive, connections[3:]))
    assert all(map(is_alive, [*others, *platforms]))
    assert connections[-1]._impl.params.channel_max == DEVICE_CHANNELS
    for connection in platforms:
        connection.close()


def test_too_much_in_one_message_is_refused_by_the_broker(log_in: LogIn) -> None:
    with pytest.raises(ChannelClosedByBroker, match="larger than"):
        publish(log_in("acme/pump-7"), "acme.pump-7.telemetry", b"x" * 1_100_000)


def test_nobody_logs_in_while_the_web_process_is_away(rabbit: Rabbit, platform: Publisher) -> None:
    login = pika.PlainCredentials("acme/pump-7", "any")
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika.ConnectionParameters(rabbit.address.host, rabbit.address.port, credentials=login))


def test_the_listener_comes_back_when_the_broker_does(
    rabbit: Rabbit, acme: Tenant, make_device: MakeDevice, platform: Publisher, run_listener: RunListener
) -> None:
    with tenant_context(acme):
        make_device("pump-7")

    def count() -> int:
        with tenant_context(acme):
            return Reading.objects.count()

    with run_listener() as running:
        for number in range(100):
            platform.publish(f'{{"temperature": {number}}}')
        wait_until(lambda: count() == 100)
        assert rabbit.child.pid is not None
        os.kill(rabbit.child.pid, signal.SIGKILL)
        wait_until(lambda: running._core._state == "connecting")
        assert "RabbitMQ" in running.last_error
        rabbit.supervise_until(lambda: running._core._state == "connected")
        again = Publisher(rabbit.address)
        for number in range(100, 200):
            again.publish(f'{{"temperature": {number}}}')
        wait_until(lambda: count() == 200)
        again.connection.close()
        wait_until(lambda: running._sender._channel is not None and running._sender._channel.is_open)
    assert running._core._state == "stopped"
