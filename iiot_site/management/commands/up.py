"""`manage.py up`: start the servers and all processes of the platform, and watch over them."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from iiot_site.supervisor import cli


class Command(BaseCommand):
    help = "Start the servers and all processes of the platform; Ctrl-C stops them."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(cli.up())
