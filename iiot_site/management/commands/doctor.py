"""`manage.py doctor [--json]`: what is found, what is missing, and how to get it."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from iiot_site.supervisor import cli


class Command(BaseCommand):
    help = "Tell what the platform finds on this machine, what is missing and the line that gets it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(cli.doctor(as_json=options["json"]))
