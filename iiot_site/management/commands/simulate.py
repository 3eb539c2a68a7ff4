"""`manage.py simulate`: let the demo's devices send, until SIGTERM or SIGINT."""

import os
import signal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from iiot_site.demo.demo_file import demo_path, read_demo_file
from iiot_site.demo.simulator import Simulator

DEFAULT_RATE = 0.5


class Command(BaseCommand):
    """Needs no database: what it has to know is in `demo.json`, as for real devices."""

    help = "Drive the demo's devices with plausible signals."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="messages per second and device (default 0.5)")
        parser.add_argument("--once", action="store_true", help="send one message from each device, then end")

    def handle(self, *_args: Any, **options: Any) -> None:
        content = read_demo_file(demo_path())
        if content is None:
            raise CommandError(f"There is no {demo_path()}; run manage.py demo first.")
        if not 0 < options["rate"] <= 1000:
            raise CommandError("--rate is messages per second and device, above 0 and at most 1000.")
        simulator = Simulator(content, messages_per_second=options["rate"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: simulator.request_stop())
        try:
            are_connected = simulator.wait_until_connected(with_late=options["once"])
            if options["once"] and not are_connected:
                raise CommandError("The broker did not accept every device; is the platform running?")
            if ready_file := os.environ.get("IIOT_READY_FILE"):
                Path(ready_file).touch()
            if options["once"]:
                simulator.publish_once()
            else:
                simulator.run()
        finally:
            simulator.close()
