"""`manage.py mqtt_tls`: let devices in over TLS until SIGTERM or SIGINT."""

import os
import resource
import signal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from iiot_site.lib.lock_waits import limit_lock_waits
from protocols.broker_address import parse_mqtt_url
from protocols.mqtt.tls_door import TlsDoor
from protocols.mqtt.tls_files import TlsFiles

LOCK_SECONDS = 1  # a tenant whose tables are locked for longer is refused; its devices come again


def make_door(ready_file: Path | None) -> TlsDoor:
    """Return the door to the platform's own broker, as the settings want it."""
    if not (settings.IIOT_MQTT_TLS_CERT and settings.IIOT_MQTT_TLS_KEY):
        raise CommandError("Set IIOT_MQTT_TLS_CERT and IIOT_MQTT_TLS_KEY to the server's certificate and its key, in PEM.")
    if not (Path(settings.IIOT_DATA_DIR) / "mosquitto").is_dir():
        raise CommandError("The broker in MQTT_URL is not ours, so the platform cannot tell it who may log in: let it speak TLS itself.")
    address = parse_mqtt_url(settings.MQTT_URL)
    client_ca = settings.IIOT_MQTT_TLS_CLIENT_CA
    return TlsDoor(
        bind=settings.IIOT_MQTT_TLS_BIND,
        port=settings.IIOT_MQTT_TLS_PORT,
        files=TlsFiles(Path(settings.IIOT_MQTT_TLS_CERT), Path(settings.IIOT_MQTT_TLS_KEY), Path(client_ca) if client_ca else None),
        broker=(address.host, address.port),
        ready_file=ready_file,
    )


class Command(BaseCommand):
    """Runs the TLS door."""

    help = "Let MQTT devices in over TLS, with a certificate or a password, until told to stop."

    def handle(self, *_args: Any, **_options: Any) -> None:
        ready_file = os.environ.get("IIOT_READY_FILE")
        limit_lock_waits(LOCK_SECONDS)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each connection takes two
        door = make_door(Path(ready_file) if ready_file else None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: door.request_stop())
        try:
            door.run()
        except OSError as exc:
            raise CommandError(f"The TLS door cannot open: {exc}") from exc
