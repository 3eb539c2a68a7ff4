"""`manage.py with_servers [--data-dir D] [-- COMMAND …]`: private servers around one command, or until Ctrl-C."""

import sys
from argparse import REMAINDER
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from iiot_site.supervisor import cli


class Command(BaseCommand):
    help = "Start the servers, run a command with their addresses in its environment, stop them; exits with its code."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data-dir", help="data folder to use instead of IIOT_DATA_DIR")
        parser.add_argument("command", nargs=REMAINDER, help="command to run; without one, wait for Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(cli.with_servers(options["command"], data_dir=options["data_dir"]))
