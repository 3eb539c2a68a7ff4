"""A real broker, and a listener that runs in this process."""

import getpass
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from django.conf import settings
from paho.mqtt.enums import CallbackAPIVersion

from iiot_site.lib.broker_logins import PLATFORM_USER, acl_text
from iiot_site.lib.broker_password import hash_broker_password
from iiot_site.supervisor.choice import find_program
from protocols.broker_address import BrokerAddress, parse_mqtt_url
from protocols.mqtt.listener import MqttListener
from tests.ports import free_port
from tests.protocols.running import running
from tests.waiting import wait_until


def connect(address: BrokerAddress, *, client_id: str = "", clean_session: bool = True) -> paho.Client:
    """Return a connected client."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean_session)
    client.username_pw_set(address.username, address.password)
    client.max_inflight_messages_set(500)
    client.connect(address.host, address.port)
    client.loop_start()
    wait_until(client.is_connected)
    return client


def disconnect(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def client_id() -> str:
    """The name of the test's listener at the broker."""
    return f"listener-{uuid.uuid4()}"


@pytest.fixture
def broker(client_id: str) -> Iterator[BrokerAddress]:
    """The broker with the platform's login; the test's listener has a session of its own there."""
    if not settings.MQTT_URL:
        pytest.skip("no MQTT broker")
    address = parse_mqtt_url(settings.MQTT_URL)
    yield address
    disconnect(connect(address, client_id=client_id))  # a clean session drops the persistent one


@pytest.fixture
def platform(broker: BrokerAddress) -> Iterator[paho.Client]:
    """A client that may publish anywhere."""
    client = connect(broker)
    yield client
    disconnect(client)


RunListener = Callable[[], AbstractContextManager[MqttListener]]


@pytest.fixture
def run_listener(broker: BrokerAddress, client_id: str, transactional_db: None, tmp_path: Path) -> RunListener:
    """Return a context in which a listener runs; leaving it stops the listener as SIGTERM would."""

    @contextmanager
    def run() -> Iterator[MqttListener]:
        ready_file = tmp_path / "ready"
        ready_file.unlink(missing_ok=True)
        with running(MqttListener(broker, client_id=client_id, ready_file=ready_file), ready_file=ready_file) as listener:
            yield listener

    return run


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[BrokerAddress]:
    """A mosquitto with the password file and the rights that the platform writes."""
    program = find_program("mosquitto")
    if program is None:
        pytest.skip("mosquitto is not installed")
    (tmp_path / "passwords").write_text(f"{PLATFORM_USER}:{hash_broker_password('platform')}\n")
    (tmp_path / "acl").write_text(acl_text([]))
    port = free_port()
    lines = [f"user {getpass.getuser()}", f"pid_file {tmp_path}/pid", f"listener {port} 127.0.0.1", "allow_anonymous false"]
    lines += [f"password_file {tmp_path}/passwords", f"acl_file {tmp_path}/acl"]
    lines += ["log_dest topic", "connection_messages true", "log_timestamp_format %Y-%m-%dT%H:%M:%S"]  # as the platform writes it
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    with subprocess.Popen([program, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: answers(port))
        yield BrokerAddress("127.0.0.1", port, PLATFORM_USER, "platform", uses_tls=False)
        process.terminate()
