"""Makes this protocol's listener from the settings."""

import logging
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from protocols.broker_address import parse_mqtt_url
from protocols.login_sync import LoginSync
from protocols.mqtt.client_id import load_client_id
from protocols.mqtt.crowding import SHUT_OUT_SECONDS
from protocols.mqtt.listener import PROTOCOLS, MqttListener
from protocols.mqtt.logins import PasswordFile

logger = logging.getLogger(__name__)


def make_listener(ready_file: Path | None) -> MqttListener:
    """Return the listener of the broker in MQTT_URL."""
    try:
        address = parse_mqtt_url(settings.MQTT_URL)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    client_id = load_client_id(Path(settings.IIOT_DATA_DIR) / "secrets")
    if settings.IIOT_MQTT_VERSION not in PROTOCOLS:
        raise CommandError(f"IIOT_MQTT_VERSION is {settings.IIOT_MQTT_VERSION!r}; use one of {', '.join(PROTOCOLS)}.")
    passwords = find_passwords()
    return MqttListener(
        address,
        client_id=client_id,
        ready_file=ready_file,
        login_sync=LoginSync(passwords) if passwords else None,
        shut_out=partial(passwords.shut_out, seconds=SHUT_OUT_SECONDS) if passwords else None,
        version=settings.IIOT_MQTT_VERSION,
        shared_group=settings.IIOT_MQTT_SHARED_GROUP,
    )


def find_passwords() -> PasswordFile | None:
    """Return what the broker's logins are kept in where it is ours."""
    folder = Path(settings.IIOT_DATA_DIR) / "mosquitto"
    if not folder.is_dir():
        logger.info("the broker is not ours; its users are managed there")
        return None
    return PasswordFile(folder / "passwords", Path(settings.IIOT_DATA_DIR) / "run" / "mosquitto.pid")
