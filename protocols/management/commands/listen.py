"""`manage.py listen <protocol>`: take telemetry in until SIGTERM or SIGINT."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from protocols.amqp.address import parse_broker_url as parse_amqp_url
from protocols.amqp.listener import AmqpListener
from protocols.amqp.logins import BrokerControl, ConnectionEnder
from protocols.coap.address import CoapAddress
from protocols.coap.listener import CoapListener
from protocols.login_sync import LoginSync
from protocols.modbus.listener import ModbusListener
from protocols.mqtt.address import parse_broker_url
from protocols.mqtt.client_id import load_client_id
from protocols.mqtt.listener import PROTOCOLS, MqttListener
from protocols.mqtt.logins import PasswordFile
from protocols.opcua.browsing import platform_identity
from protocols.opcua.listener import OpcUaListener

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """What this command runs."""

    def run(self) -> None:
        """Listen until told to stop."""

    def request_stop(self) -> None:
        """Make `run` return soon. Only sets flags: signal handlers call it."""


def make_mqtt_listener(ready_file: Path | None) -> Listener:
    """Return the listener of the broker in MQTT_URL."""
    try:
        address = parse_broker_url(settings.MQTT_URL)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    client_id = load_client_id(Path(settings.IIOT_DATA_DIR) / "secrets")
    if settings.IIOT_MQTT_VERSION not in PROTOCOLS:
        raise CommandError(f"IIOT_MQTT_VERSION is {settings.IIOT_MQTT_VERSION!r}; use one of {', '.join(PROTOCOLS)}.")
    return MqttListener(
        address,
        client_id=client_id,
        ready_file=ready_file,
        login_sync=find_login_sync(),
        version=settings.IIOT_MQTT_VERSION,
        shared_group=settings.IIOT_MQTT_SHARED_GROUP,
    )


def make_amqp_listener(ready_file: Path | None) -> Listener:
    """Return the listener of the broker in AMQP_URL."""
    try:
        address = parse_amqp_url(settings.AMQP_URL)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    folder = Path(settings.IIOT_DATA_DIR) / "rabbitmq"
    control = BrokerControl(folder / "control.json")
    is_ours = (folder / "control.json").exists()
    login_sync = LoginSync(ConnectionEnder(folder / "logins.json", control.end_connections)) if is_ours else None
    return AmqpListener(address, ready_file=ready_file, login_sync=login_sync)


def make_coap_listener(ready_file: Path | None) -> Listener:
    """Return the CoAP server at IIOT_COAP_BIND."""
    address = CoapAddress(settings.IIOT_COAP_BIND, settings.IIOT_COAP_PORT)
    return CoapListener(address, sequence_path=Path(settings.IIOT_DATA_DIR) / "oscore" / "sequence", ready_file=ready_file)


def make_opcua_listener(ready_file: Path | None) -> Listener:
    """Return the listener that reads tenants' OPC UA servers."""
    return OpcUaListener(platform_identity(), ready_file=ready_file)


# A new protocol adds its line here.
LISTENERS: dict[str, Callable[[Path | None], Listener]] = {
    "mqtt": make_mqtt_listener,
    "amqp": make_amqp_listener,
    "coap": make_coap_listener,
    "opcua": make_opcua_listener,
    "modbus": lambda ready_file: ModbusListener(ready_file=ready_file),
}


class Command(BaseCommand):
    """Runs one listener."""

    help = "Take telemetry from a protocol until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("protocol", choices=list(LISTENERS))

    def handle(self, *_args: Any, **options: Any) -> None:
        ready_file = os.environ.get("IIOT_READY_FILE")
        listener = LISTENERS[options["protocol"]](Path(ready_file) if ready_file else None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: listener.request_stop())
        listener.run()


def find_login_sync() -> LoginSync | None:
    """Return what follows device credentials where the broker is ours."""
    folder = Path(settings.IIOT_DATA_DIR) / "mosquitto"
    if not folder.is_dir():
        logger.info("the broker is not ours; its users are managed there")
        return None
    return LoginSync(PasswordFile(folder / "passwords", Path(settings.IIOT_DATA_DIR) / "run" / "mosquitto.pid"))
