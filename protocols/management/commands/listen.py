"""`manage.py listen <protocol>`: take telemetry in until SIGTERM or SIGINT."""

import os
import signal
from pathlib import Path
from typing import Any, Protocol

from django.core.management.base import BaseCommand, CommandParser
from django.utils.module_loading import import_string

from iiot_site.lib.garbage import collect_seldom
from iiot_site.lib.lock_waits import limit_lock_waits
from protocols.holding import LOCK_SECONDS

# A new protocol adds its name here, and `factory.py` with `make_listener` to its folder.
PROTOCOLS = ("mqtt", "amqp", "coap", "opcua", "modbus")


class Listener(Protocol):
    """What this command runs."""

    def run(self) -> None:
        """Listen until told to stop."""

    def request_stop(self) -> None:
        """Make `run` return soon. Only sets flags: signal handlers call it."""


def make_listener(protocol: str, *, ready_file: Path | None) -> Listener:
    """Return the listener of a protocol, and import no other one's library."""
    listener: Listener = import_string(f"protocols.{protocol}.factory.make_listener")(ready_file)
    return listener


class Command(BaseCommand):
    """Runs one listener."""

    help = "Take telemetry from a protocol until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("protocol", choices=PROTOCOLS)

    def handle(self, *_args: Any, **options: Any) -> None:
        limit_lock_waits(LOCK_SECONDS)
        collect_seldom()
        ready_file = os.environ.get("IIOT_READY_FILE")
        listener = make_listener(options["protocol"], ready_file=Path(ready_file) if ready_file else None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: listener.request_stop())
        listener.run()
